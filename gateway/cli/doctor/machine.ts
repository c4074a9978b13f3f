/** Runtime, files, disk and clock of this machine. */
import { readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { DataDirectory } from '#gateway/installation/data-directory.ts';
import { fail, ok, warn, type Finding } from './check.ts';

const MAJOR = 26;

export function checkRuntime(version: string): readonly Finding[] {
  const major = Number(version.split('.')[0]);
  if (major < MAJOR) return [fail('runtime', 'runtime.unsupported', `Node.js ${version} is older than ${MAJOR}`)];
  return [ok('runtime', `Node.js ${version}`)];
}

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(3, '0');

/** What nobody but the owner may enter or read. */
async function tooOpen(data: DataDirectory): Promise<readonly string[]> {
  const faults: string[] = [];
  const look = async (file: string): Promise<void> => {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) faults.push(`${file} (mode ${octal(mode)})`);
  };
  for (const folder of [data.root, data.hsm, data.rootToken, data.operators, data.tickets, data.tls]) {
    const names = await readdir(folder).catch(() => undefined);
    if (names === undefined) continue;
    await look(folder);
    for (const name of names) if (isSecret(folder, name, data)) await look(path.join(folder, name));
  }
  return faults;
}

function isSecret(folder: string, name: string, data: DataDirectory): boolean {
  if (folder === data.root) return name.includes('.db');
  if (folder === data.tls) return name.endsWith('.key');
  if (folder === data.operators || folder === data.tickets) return true;
  return name === 'pin' || name === 'so-pin';
}

export async function checkDataDirectory(data: DataDirectory): Promise<readonly Finding[]> {
  const check = 'data directory';
  const info = await stat(data.root).catch(() => undefined);
  if (info === undefined) {
    return [
      fail(
        check,
        'config.missing',
        `there is no data directory ${data.root}`,
        `Run croupier --data ${data.root} init.`,
      ),
    ];
  }
  if (!info.isDirectory())
    return [fail(check, 'config.invalid', `${data.root} is not a directory`, 'Name another with --data.')];
  if (process.geteuid !== undefined && info.uid !== process.geteuid()) {
    return [
      fail(
        check,
        'config.invalid',
        `${data.root} belongs to user ${info.uid}, not to the one who asks (${process.geteuid()})`,
        'Run this as the user of the gateway.',
      ),
    ];
  }
  const faults = await tooOpen(data);
  if (faults.length > 0) {
    return [
      fail(
        check,
        'config.invalid',
        `others may read ${faults.slice(0, 5).join(', ')}${faults.length > 5 ? ` and ${faults.length - 5} more` : ''}`,
        `Run chmod -R go= ${data.root}; replace what somebody may have seen.`,
      ),
    ];
  }
  return [ok(check, `${data.root}, owner-only`)];
}

export async function checkRootToken(data: DataDirectory): Promise<readonly Finding[]> {
  const check = 'root token';
  const names = await readdir(data.rootToken).catch(() => []);
  if (names.length === 0) return [ok(check, 'not on this machine')];
  return [
    warn(
      check,
      `the key of the root is on this machine: ${data.rootToken}`,
      'Move the directory to a medium in a safe; only ceremonies need it.',
    ),
  ];
}

const GIBIBYTE = 2 ** 30;
const SCARCE = GIBIBYTE;
const OUT = GIBIBYTE / 10;

export async function checkDisk(data: DataDirectory): Promise<readonly Finding[]> {
  const check = 'disk space';
  const { bavail, bsize } = await statfs(data.root);
  const free = bavail * bsize;
  const said = `${(free / GIBIBYTE).toFixed(1)} GiB free in ${data.root}`;
  if (free < OUT)
    return [
      fail(check, 'store.unavailable', said, 'Free space: without it nothing can be recorded, so nothing is issued.'),
    ];
  if (free < SCARCE) return [warn(check, said, 'Free space before the database cannot grow any more.')];
  return [ok(check, said)];
}

/** Longest step back that clocks take in ordinary life. */
const STEP_MS = 60_000;

/** A clock that runs ahead shows only when it comes back; what has been written is the floor. */
export function checkClock(now: Date, written: Date | undefined): readonly Finding[] {
  const check = 'clock';
  if (written !== undefined && now.getTime() < written.getTime() - STEP_MS) {
    return [
      fail(
        check,
        'config.invalid',
        `the clock says ${now.toISOString()}, but the last audit record is of ${written.toISOString()}`,
        'Set the clock, and keep it by NTP: certificates and updates carry its time.',
      ),
    ];
  }
  return [ok(check, now.toISOString())];
}
