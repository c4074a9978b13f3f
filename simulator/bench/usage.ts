/** What a process has used, as Linux counts it. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';

/** USER_HZ: the kernel's unit towards programs on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Fields of /proc/<pid>/stat behind the program's name: utime and stime (proc(5), 14 and 15). */
const UTIME = 11;
const STIME = 12;

async function procFile(pid: number, name: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/${name}`, 'utf8');
  } catch (cause) {
    throw new CroupierError('internal.unexpected', `/proc/${pid}/${name} cannot be read; benchmarks need Linux`, {
      cause,
    });
  }
}

/** Seconds of processor time of all threads since the process began. */
export async function cpuSeconds(pid: number): Promise<number> {
  const text = await procFile(pid, 'stat');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[UTIME]) + Number(fields[STIME])) / TICKS_PER_SECOND;
}

/** Octets of memory that the process holds (resident set). */
export async function residentOctets(pid: number): Promise<number> {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(await procFile(pid, 'status')) ?? [];
  return Number(kilobytes) * 1024;
}

const SETTLE_STEP_MS = 1_000;
/** V8 collects what is left over only once a process has been calm for several seconds. */
const SETTLE_STEPS = 60;
const CALM_STEPS = 12;
const CALM_SHARE = 0.005;

/** The resident set once it has changed little for a while. */
export async function settledOctets(pid: number): Promise<number> {
  let last = await residentOctets(pid);
  for (let step = 0, calm = 0; step < SETTLE_STEPS && calm < CALM_STEPS; step += 1) {
    await delay(SETTLE_STEP_MS);
    const now = await residentOctets(pid);
    calm = Math.abs(now - last) <= last * CALM_SHARE ? calm + 1 : 0;
    last = now;
  }
  return last;
}

export interface Spent {
  readonly seconds: number;
  /** Processor seconds of the gateway, and of this process, which plays the devices. */
  readonly gateway: number;
  readonly devices: number;
}

/** Measures a stretch of work; call the result at its end. */
export async function stopwatch(gatewayPid: number): Promise<() => Promise<Spent>> {
  const [gateway, devices] = await Promise.all([cpuSeconds(gatewayPid), cpuSeconds(process.pid)]);
  const begun = performance.now();
  return async () => {
    const seconds = (performance.now() - begun) / 1000;
    const [gatewayNow, devicesNow] = await Promise.all([cpuSeconds(gatewayPid), cpuSeconds(process.pid)]);
    return { seconds, gateway: gatewayNow - gateway, devices: devicesNow - devices };
  };
}
