/** Our programs as they are started on a machine: by plain node or by their launchers. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { runCommandLine } from '#gateway/cli/command-line.ts';
import { RunFile } from '#schema/config.ts';

export const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const MAIN = fileURLToPath(new URL('../../../../gateway/cli/main.ts', import.meta.url));

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  NODE_OPTIONS: '',
  NO_COLOR: '1',
  FORCE_COLOR: undefined,
});

/** Runs a program to its end. */
export function runProgram(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { ...environment(), ...env }, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(file, args, options, (_, stdout, stderr) =>
      resolve({ exitCode: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end();
  });
}

/** `croupier` by plain node, without a terminal. */
export function croupierProgram(...args: readonly string[]): Promise<Ended> {
  return runProgram(process.execPath, [MAIN, ...args]);
}

/** The same within this process, which spares the start of a program; without a terminal, too. */
export async function croupier(...args: readonly string[]): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  const exitCode = await runCommandLine(args, {
    terminal: {
      stdout: (text) => {
        stdout += text;
      },
      stderr: (text) => {
        stderr += text;
      },
      colour: false,
      live: false,
      columns: 80,
      canAsk: false,
      ask: async () => undefined,
      stopSignal: () => new AbortController().signal,
    },
  });
  return { exitCode, stdout, stderr };
}

export interface RunningProgram {
  readonly run: RunFile;
  /** SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null>;
}

/** `croupier gateway`, ready. */
export async function startGatewayProgram(data: string, ...args: readonly string[]): Promise<RunningProgram> {
  const child: ChildProcess = spawn(process.execPath, [MAIN, '--data', data, '--json', 'gateway', ...args], {
    env: environment(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  if (child.stdout === null) throw new Error('the gateway has no output');
  for await (const line of createInterface({ input: child.stdout })) {
    return {
      run: RunFile.parse(JSON.parse(line)),
      stop: () => {
        child.kill('SIGTERM');
        return ended;
      },
    };
  }
  throw new Error(`the gateway ended with ${await ended} before it was ready`);
}

/** Makes a realm whose listeners take free ports. */
export async function initialiseRealm(data: string): Promise<void> {
  const ports = ['--est-port', '--mqtt-port', '--api-port', '--public-port'].flatMap((option) => [option, '0']);
  const { exitCode, stderr } = await croupierProgram('--data', data, 'init', '--realm', 'test', ...ports);
  if (exitCode !== 0) throw new Error(`croupier init: ${stderr}`);
}
