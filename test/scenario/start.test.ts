/** `npm start` and `croupier-sim floor` as a person would run them: programs of their own, a real HSM, real sockets. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { RunFile } from '#schema/config.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const START = join(ROOT, 'simulator/start/main.ts');
const CROUPIER = join(ROOT, 'gateway/cli/main.ts');
const KINDS = ['offline', 'restart', 'slow', 'dead-clock', 'duplicate', 'refuse', 'busy'];
const SIMULATOR = join(ROOT, 'simulator/main.ts');
const FREE_PORTS = ['--est-port', '0', '--mqtt-port', '0', '--api-port', '0', '--public-port', '0'];
const LONG = 120_000;

const Summary = z.strictObject({
  devices: z.number(),
  enrolled: z.number(),
  converged: z.number(),
  offline: z.number(),
  caughtUp: z.number(),
  rotation: z.strictObject({ keySet: z.string(), from: z.number(), to: z.number(), seconds: z.number() }),
  auditVerified: z.boolean(),
  errors: z.number(),
});

let directory: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'croupier-start-'));
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill();
    await once(child, 'exit');
  }
});

afterAll(() => rm(directory, { recursive: true, force: true }));

interface Program {
  readonly child: ChildProcess;
  readonly said: { stdout: string; stderr: string };
  readonly ended: Promise<number | null>;
}

function launch(program: string, args: readonly string[]): Program {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  children.push(child);
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  const ended = once(child, 'close').then(() => child.exitCode);
  return { child, said, ended };
}

const start = (data: string, ...more: readonly string[]): Program =>
  launch(START, ['--json', '--devices', '20', '--data', data, ...FREE_PORTS, ...more]);

const lastLine = (text: string): unknown => JSON.parse(text.trim().split('\n').at(-1) ?? '');

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const readRun = async (data: string): Promise<RunFile> =>
  RunFile.parse(JSON.parse(await readFile(join(data, 'run.json'), 'utf8')));

const EVERYBODY = { devices: 20, enrolled: 20, converged: 20, offline: 3, caughtUp: 3, auditVerified: true, errors: 0 };

describe('npm start', () => {
  test(
    'given an empty directory, when it is started, then the floor enrols, rotates and converges',
    async () => {
      const data = join(directory, 'floor');
      const program = start(data, '--exit');
      expect(await program.ended, program.said.stderr).toBe(0);
      expect(Summary.parse(lastLine(program.said.stdout))).toMatchObject({
        ...EVERYBODY,
        rotation: { keySet: 'wallet-kek', from: 1, to: 2 },
      });
      expect(program.said.stdout.trim().split('\n')).toHaveLength(1);
      expect(program.said.stderr).toContain('20 devices imported and approved');
      expect(existsSync(join(data, 'gateway.lock'))).toBe(false);
    },
    LONG,
  );

  test(
    'given the directory of a former start, when it is started, then it continues, and runs on until it is interrupted',
    async () => {
      const data = join(directory, 'floor');
      const program = start(data);
      await heard(program, 'Ctrl-C stops both');
      expect(program.said.stderr).toContain('nobody needs one');
      const { pid } = await readRun(data);
      expect(isRunning(pid)).toBe(true);
      // As from a terminal, which tells npm, the bootstrap and the program, and each passes it on.
      program.child.kill('SIGINT');
      program.child.kill('SIGINT');
      expect(await program.ended, program.said.stderr).toBe(0);
      expect(Summary.parse(lastLine(program.said.stdout))).toMatchObject({
        ...EVERYBODY,
        rotation: { keySet: 'wallet-kek', from: 2, to: 3 },
      });
      expect(isRunning(pid)).toBe(false);
      expect(existsSync(join(data, 'gateway.lock'))).toBe(false);
    },
    LONG,
  );

  test(
    'given that the gateway dies on the way, then it says so and ends',
    async () => {
      const data = join(directory, 'floor');
      const program = start(data);
      await heard(program, 'gateway                done');
      const { pid } = await readRun(data);
      process.kill(pid, 'SIGKILL');
      expect(await program.ended).not.toBe(0);
      expect(program.said.stderr).toContain('error: ');
      expect(lastLine(program.said.stdout)).toMatchObject({ error: { code: 'network.unreachable' } });
    },
    LONG,
  );

  test('given a port that is taken, then it names port and option, and makes nothing', async () => {
    const server: Server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const data = join(directory, 'taken');
    try {
      const program = start(data, '--exit', '--est-port', String(port));
      expect(await program.ended).toBe(3);
      expect(program.said.stderr).toContain(`${port} (--est-port)`);
      expect(lastLine(program.said.stdout)).toMatchObject({ error: { code: 'port.in-use' } });
      expect(existsSync(data)).toBe(false);
    } finally {
      server.close();
    }
  });

  test('given an option that cannot be, then it says what is allowed', async () => {
    const program = launch(START, ['--devices', '0']);
    expect(await program.ended).toBe(2);
    expect(program.said.stderr).toContain('from 4 to 5000');
  });
});

describe('croupier-sim floor', () => {
  test(
    'given a running gateway, when a floor with every trouble is switched on, then it converges all the same',
    async () => {
      const data = join(directory, 'troubles');
      expect(await launch(CROUPIER, ['--data', data, 'init', ...FREE_PORTS]).ended).toBe(0);
      const gateway = launch(CROUPIER, ['--data', data, 'gateway']);
      await heard(gateway, 'gateway ready');
      const troubles = KINDS.flatMap((kind) => [`--${kind}`, '5']);
      const floor = launch(SIMULATOR, ['floor', '--json', '--memory', '--devices', '40', '--data', data, ...troubles]);
      expect(await floor.ended, floor.said.stderr).toBe(0);
      expect(lastLine(floor.said.stdout)).toMatchObject({
        devices: 40,
        converged: 40,
        agreeing: 40,
        enrolments: 40,
        refusedUpdates: 2,
        behaviours: Object.fromEntries(KINDS.map((kind) => [kind, 2])),
        faultCodes: { 'message.signature-invalid': 2 },
      });
    },
    LONG,
  );
});

/** Resolves when the program has said this on standard error. */
async function heard({ child, said, ended }: Program, text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const look = (): void => {
    if (said.stderr.includes(text)) resolve(undefined);
  };
  child.stderr?.on('data', look);
  look();
  void ended.then((code) => reject(new Error(`it ended with ${code} without "${text}": ${said.stderr}`)));
  await promise;
}
