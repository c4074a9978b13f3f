import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BusyLeases, BusyRequest } from '#agent/local/busy-leases.ts';
import { startSocketServer } from '#agent/local/socket-server.ts';
import { silentLog } from '#agent/log.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { FakeAgentView, makeCredential } from '#test/support/fake-agent-view.ts';

const main = fileURLToPath(new URL('../../../../device-agent/main.ts', import.meta.url));

interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The agent as it is started on a device: by plain node, without a test runner's transformations. */
function croupierAgent(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (_, stdout, stderr) =>
      resolve({ exitCode: child.exitCode, stdout, stderr }),
    );
  });
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-cli-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('help and usage', () => {
  test('when help is asked for, then it is printed and the exit code is 0', async () => {
    const { exitCode, stdout, stderr } = await croupierAgent('--help');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain('run [options]');
    expect(stdout).toContain('status [options]');
    expect((await croupierAgent('run', '--help')).stdout).toContain('--on-change <command>');
    expect((await croupierAgent('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test.each([
    ['no command', []],
    ['an unknown command', ['runn']],
    ['run without a data directory', ['run', '--ticket', 'x']],
    ['an unknown option', ['run', '--data', 'x', '--tiket', 'y']],
    ['a key type that devices cannot use', ['run', '--data', 'x', '--key-type', 'Ed25519']],
    ['a log level that does not exist', ['run', '--data', 'x', '--log-level', 'loud']],
    ['status of nothing', ['status']],
  ])('when there is %s, then the exit code is 2 and the fault is told', async (_, args) => {
    const { exitCode, stdout, stderr } = await croupierAgent(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/error: |Usage: /);
  });
});

describe('trust export', () => {
  test('given a device with a trust bundle, then it is written as it was published, once', async () => {
    const view = new FakeAgentView();
    const bundle = Buffer.from('3003020101', 'hex');
    view.setTrust(7, {}, bundle);
    const server = await startSocketServer({
      path: join(directory, 'run', 'agent.sock'),
      view,
      busy: new BusyLeases(systemClock),
      clock: systemClock,
      log: silentLog,
    });
    const file = join(directory, '7.p7m');
    const exported = await croupierAgent('trust', 'export', file, '--data', directory);
    expect(exported).toEqual({ exitCode: 0, stderr: '', stdout: `trust bundle 7 written to ${file}\n` });
    expect(readFileSync(file)).toEqual(bundle);
    const again = await croupierAgent('trust', 'export', file, '--data', directory, '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({ error: { code: 'input.invalid' } });
    await server.close();
  });

  test('given a device without one, then nothing is written', async () => {
    const view = new FakeAgentView();
    const path = join(directory, 'run', 'agent.sock');
    const server = await startSocketServer({
      path,
      view,
      busy: new BusyLeases(systemClock),
      clock: systemClock,
      log: silentLog,
    });
    const { exitCode, stderr } = await croupierAgent('trust', 'export', join(directory, 'none'), '--socket', path);
    expect([exitCode, stderr]).toEqual([4, expect.stringContaining('code: agent.not-enrolled')]);
    expect(existsSync(join(directory, 'none'))).toBe(false);
    await server.close();
  });
});

describe('status', () => {
  const credential = makeCredential();
  const serve = (view: FakeAgentView, busy = new BusyLeases(systemClock)): ReturnType<typeof startSocketServer> =>
    startSocketServer({ path: join(directory, 'run', 'agent.sock'), view, busy, clock: systemClock, log: silentLog });

  test('given an agent that is well, then it is told for people and as JSON, with exit code 0', async () => {
    const view = new FakeAgentView();
    const busy = new BusyLeases(systemClock);
    view.setIdentity(credential.identity);
    view.setTrust(3, { identity: [credential.root] });
    view.store('wallet-kek', 4);
    view.activate('wallet-kek', 4);
    busy.put(BusyRequest.parse({ holder: 'game', seconds: 60, reason: 'credits on the meter' }));
    const server = await serve(view, busy);
    const plain = await croupierAgent('status', '--data', directory);
    expect(plain).toMatchObject({ exitCode: 0, stderr: '' });
    expect(plain.stdout).toMatch(/^status +ok$/m);
    expect(plain.stdout).toMatch(/^device +egm-0001 \(realm test\)$/m);
    expect(plain.stdout).toMatch(/^trust +version 3$/m);
    expect(plain.stdout).toMatch(/^key set +wallet-kek, version 4 active$/m);
    expect(plain.stdout).toMatch(/^busy +game: every key set until .* \(credits on the meter\)$/m);
    const json = await croupierAgent('status', '--socket', server.path, '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ status: 'ok', serial: credential.identity.serial, generation: 4 });
    await server.close();
  });

  test('given an agent that is not enrolled, then the exit code says so', async () => {
    const server = await serve(new FakeAgentView());
    const { exitCode, stdout } = await croupierAgent('status', '--data', directory);
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/^device +not enrolled$/m);
    await server.close();
  });

  test('given no agent, then message, remedy and code are told, as text or JSON', async () => {
    const plain = await croupierAgent('status', '--data', directory);
    expect(plain).toMatchObject({ exitCode: 5, stdout: '' });
    expect(plain.stderr).toMatch(
      /^error: no agent answers on .*\nwhat to do: Start it with .*\ncode: agent\.not-running\n$/,
    );
    const json = await croupierAgent('status', '--data', directory, '--json');
    expect(json).toMatchObject({ exitCode: 5, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'agent.not-running', message: expect.any(String), remedy: expect.any(String) },
    });
  });
});
