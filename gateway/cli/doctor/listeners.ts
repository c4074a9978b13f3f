/** The gateway's process and its four listeners, running or not. */
import { connect, createServer } from 'node:net';
import { errorMessage } from '#schema/errors.ts';
import type { Config, RunFile } from '#schema/config.ts';
import type { DataDirectory } from '#gateway/installation/data-directory.ts';
import { readRunFile } from '#gateway/installation/run-file.ts';
import { fail, ok, warn, type Finding } from './check.ts';

const LISTENERS = ['est', 'mqtt', 'api', 'public'] as const;
const CONNECT_MS = 3_000;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function reaches(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_MS });
    const end = (fault: string | undefined): void => {
      socket.destroy();
      resolve(fault);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end('no answer'));
    socket.once('error', (error) => end(errorMessage(error)));
  });
}

function canBind(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve('code' in error ? String(error.code) : errorMessage(error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

const local = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host);

async function checkRunning({ host, ports }: RunFile): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const name of LISTENERS) {
    const fault = await reaches(local(host), ports[name]);
    const check = `port ${name}`;
    findings.push(
      fault === undefined
        ? ok(check, `${host}:${ports[name]} answers`)
        : fail(
            check,
            'network.unreachable',
            `${host}:${ports[name]} does not answer: ${fault}`,
            'Look into the log of the gateway, and restart it.',
          ),
    );
  }
  return findings;
}

async function checkFree({ listen }: Config): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const name of LISTENERS) {
    const check = `port ${name}`;
    const port = listen[name];
    const fault = await canBind(listen.host, port);
    if (fault === undefined) findings.push(ok(check, port === 0 ? 'any free one' : `${listen.host}:${port} is free`));
    else if (fault === 'EADDRINUSE')
      findings.push(fail(check, 'port.in-use', `another process listens on ${listen.host}:${port}`));
    else if (fault === 'EACCES')
      findings.push(
        fail(check, 'port.in-use', `this user may not listen on ${listen.host}:${port}`, 'Choose a port from 1024 on.'),
      );
    else
      findings.push(
        fail(check, 'config.invalid', `${listen.host}:${port} cannot be listened on: ${fault}`, 'Correct listen.host.'),
      );
  }
  return findings;
}

/** With the gateway running its ports must answer; otherwise they must be free. */
export async function checkListeners(data: DataDirectory, config: Config): Promise<readonly Finding[]> {
  const check = 'gateway';
  const run = await readRunFile(data).catch(() => undefined);
  if (run === undefined) return [ok(check, 'does not run'), ...(await checkFree(config))];
  if (!isAlive(run.pid)) {
    const ended = warn(
      check,
      `process ${run.pid} has ended without an orderly stop`,
      'Start it again with croupier gateway: nothing needs repair.',
    );
    return [ended, ...(await checkFree(config))];
  }
  return [ok(check, `process ${run.pid} runs since ${run.startedAt}`), ...(await checkRunning(run))];
}
