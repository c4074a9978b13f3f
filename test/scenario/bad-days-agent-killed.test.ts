/** kill -9 of the agent's process at moments that the disk chooses: it starts again and goes on where it was (I4, I8). */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, watch } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCasino, type Casino, type CasinoDevice } from '#test/support/casino.ts';

const PROGRAM = fileURLToPath(new URL('../../device-agent/main.ts', import.meta.url));

let casino: Casino;
let device: CasinoDevice;
let daemon: ChildProcess | undefined;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 1, service: 1 } });
  device = casino.device('egm-1');
  await casino.device('service-1').on();
});

afterAll(async () => {
  await end('SIGKILL');
  await casino.close();
});

async function start(): Promise<ChildProcess> {
  const ticket = path.join(casino.data.tickets, 'egm-1.json');
  await writeFile(ticket, JSON.stringify(device.ticket), { mode: 0o600 });
  daemon = spawn(
    process.execPath,
    [PROGRAM, 'run', '--data', device.directory, '--ticket', ticket, '--log-level', 'error'],
    {
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: 'ignore',
    },
  );
  return daemon;
}

async function end(signal: NodeJS.Signals): Promise<void> {
  const running = daemon;
  daemon = undefined;
  if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
  const gone = new Promise((resolve) => running.once('exit', resolve));
  running.kill(signal);
  await gone;
}

/** Lets the daemon run until its state directory has changed so many times, then kills it at once. */
async function runUntilChange(number: number): Promise<void> {
  let changes = 0;
  const { promise: reached, resolve } = Promise.withResolvers<void>();
  const watcher = watch(device.directory, (_, name) => {
    if (name?.startsWith('state') !== true) return;
    changes += 1;
    if (changes === number) resolve(void daemon?.kill('SIGKILL'));
  });
  await start();
  await reached;
  await end('SIGKILL');
  watcher.close();
}

describe('given an agent daemon', () => {
  test(
    'when it is killed again and again while it enrols and takes updates, then it converges in the end',
    { timeout: 120_000 },
    async () => {
      mkdirSync(device.directory, { recursive: true, mode: 0o700 });
      for (const change of [3, 8, 14]) await runUntilChange(change);
      await start();
      await casino.untilConverged('egm-1');
      const issued = (await casino.certificatesOf('egm-1')).filter(({ state }) => state === 'issued');
      expect(issued, 'the CSR was repeated, not made anew').toHaveLength(1);

      await end('SIGKILL');
      const rollout = await casino.rotate();
      for (const change of [2, 4]) await runUntilChange(change);
      await start();
      await casino.untilRollout(rollout, 'active');
      await casino.untilConverged('egm-1', 'service-1');
      const { device: record, versions } = await casino.detail('egm-1');
      expect(record.state, 'dying is no fork of its history').toEqual({ kind: 'enrolled' });
      const wallet = versions
        .filter(({ keySet }) => keySet === 'wallet-kek')
        .map(({ version, state }) => `${version} ${state}`);
      expect(wallet).toEqual(['1 stored', '2 active']);
      await casino.auditRecords();
    },
  );
});
