/** A gateway under test: in this process, or in one of its own that can be killed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { startGateway } from '#gateway/main.ts';
import type { Log } from '#gateway/ports/log.ts';
import { RunFile } from '#schema/config.ts';
import { CroupierError, isErrorCode } from '#schema/errors.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: object;
  readonly message: string;
}

export interface GatewayHost {
  readonly run: RunFile;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** SIGKILL; only a gateway in a process of its own can be killed. */
  kill(): Promise<void>;
}

export function collectingLog(lines: LogLine[]): Log {
  const level = (name: LogLine['level']) => (fields: object, message: string) => {
    lines.push({ level: name, fields, message });
  };
  return { debug: () => undefined, info: level('info'), warn: level('warn'), error: level('error') };
}

/** Errors: those of `startGateway`. */
export async function hostHere(directory: string, lines: LogLine[], clock: Clock = systemClock): Promise<GatewayHost> {
  const gateway = await startGateway({ directory, log: collectingLog(lines), clock });
  return {
    run: gateway.run,
    stop: () => gateway.close(),
    kill: () => Promise.reject(new Error('a gateway in the process of the test cannot be killed')),
  };
}

const Said = z.union([
  z.object({ ready: RunFile }),
  z.object({ failed: z.object({ code: z.string(), message: z.string() }) }),
]);

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the gateway process has no output');
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error('the gateway process ended without a word');
}

const PROGRAM = fileURLToPath(new URL('gateway-process.ts', import.meta.url));

/** Errors: those of `startGateway`. */
export async function hostInChild(directory: string): Promise<GatewayHost> {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const child = spawn(process.execPath, [PROGRAM, directory], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const said = Said.parse(JSON.parse(await firstLine(child)));
  if ('failed' in said) {
    await gone;
    const { code, message } = said.failed;
    throw new CroupierError(isErrorCode(code) ? code : 'internal.unexpected', message);
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await gone;
  };
  return { run: said.ready, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') };
}
