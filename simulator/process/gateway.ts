/** A gateway as a child process: started, watched, ended. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RunFile } from '#schema/config.ts';
import { CroupierError } from '#schema/errors.ts';
import { parseJson } from '#schema/parse.ts';
import { failureOf, spawnCroupier } from './croupier.ts';
import { countLogErrors, type LogErrors } from './log-errors.ts';

export interface Ports {
  readonly est: number;
  readonly mqtt: number;
  readonly api: number;
  readonly public: number;
}

export interface GatewayOptions {
  readonly directory: string;
  /** 0 takes a free one. */
  readonly ports: Ports;
  /** The gateway's own log is appended to this file. */
  readonly log: string;
}

export interface GatewayProcess {
  readonly run: RunFile;
  /** Rejects if the gateway ends before `stop` or `kill` was called; never resolves. */
  readonly died: Promise<never>;
  /** Errors that this gateway has logged so far. */
  errors(): Promise<LogErrors>;
  /** Ends it in order, by force if that takes too long. Errors: `internal.unexpected` when it did not end well. */
  stop(): Promise<void>;
  /** Ends it with SIGKILL, at any moment. */
  kill(): Promise<void>;
}

const START_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 20_000;

/**
 * Resolves when the gateway listens and says that it is well. Errors: what the gateway names (`port.in-use`,
 * `data.in-use`, `hsm.*` …), `internal.unexpected` when it ends without a word, `network.timeout`.
 */
export async function startGatewayProcess(options: GatewayOptions): Promise<GatewayProcess> {
  const { directory, ports, log } = options;
  await mkdir(dirname(log), { recursive: true, mode: 0o700 });
  const from = await stat(log).then(
    ({ size }) => size,
    () => 0,
  );
  const file = await open(log, 'a', 0o600);
  const child = launch(directory, ports, file);
  const killAtExit = (): void => void child.kill();
  process.once('exit', killAtExit);
  const ended = new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'no status'));
  });
  await file.close();
  const forget = ended.then(() => process.off('exit', killAtExit));
  try {
    const run = await readiness(child, ended, log);
    await healthy(run);
    let isStopping = false;
    const died = (async (): Promise<never> => {
      const status = await ended;
      // Nobody is told of an end that was asked for.
      if (isStopping) await new Promise<never>(() => undefined);
      throw new CroupierError('network.unreachable', `the gateway has ended by itself (${status}); its log is ${log}`);
    })();
    died.catch(() => undefined);
    return {
      run,
      died,
      errors: () => countLogErrors(log, from),
      stop: async () => {
        isStopping = true;
        await end(child, ended);
        await forget;
        const status = await ended;
        if (status !== 0) {
          throw new CroupierError('internal.unexpected', `the gateway did not end well (${status}); its log is ${log}`);
        }
      },
      kill: async () => {
        isStopping = true;
        child.kill('SIGKILL');
        await forget;
      },
    };
  } catch (error) {
    await end(child, ended);
    throw error;
  }
}

function launch(directory: string, ports: Ports, log: FileHandle): ChildProcess {
  const listen = [
    '--est-port',
    ports.est,
    '--mqtt-port',
    ports.mqtt,
    '--api-port',
    ports.api,
    '--public-port',
    ports.public,
  ];
  return spawnCroupier(['--json', '--data', directory, 'gateway', ...listen.map(String)], log.fd);
}

/** The first line on standard output says where the gateway listens, or why it does not. */
async function readiness(child: ChildProcess, ended: Promise<number | string>, log: string): Promise<RunFile> {
  let stdout = '';
  const { promise: line, resolve } = Promise.withResolvers<'line'>();
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (stdout.includes('\n')) resolve('line');
  });
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(
      new CroupierError(
        'network.timeout',
        `the gateway is not ready after ${START_WITHIN_MS / 1000} s; its log is ${log}`,
      ),
    );
  }, START_WITHIN_MS);
  try {
    const first = await Promise.race([line, ended, late]);
    const failure = failureOf(stdout);
    if (failure !== undefined) throw failure;
    if (first !== 'line')
      throw new CroupierError('internal.unexpected', `the gateway ended at once (${first}); its log is ${log}`);
    return parseJson(RunFile, stdout.split('\n')[0] ?? '', 'json.malformed', 'first line of the gateway');
  } finally {
    clearTimeout(timer);
  }
}

async function healthy({ host, ports }: RunFile): Promise<void> {
  const url = `http://${host}:${ports.public}/health`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => {
    throw new CroupierError('network.unreachable', `the gateway does not answer on ${url}`, { cause: error });
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new CroupierError('network.unreachable', `the gateway answers ${answer.status} on ${url}`);
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
  await ended;
  clearTimeout(force);
}
