import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ChangeHook, type ChangeHookOptions } from '#agent/local/hook.ts';
import { silentLog, type Log } from '#agent/log.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { FakeAgentView, makeCredential } from '#test/support/fake-agent-view.ts';

const credential = makeCredential();

interface Line {
  readonly level: 'info' | 'error';
  readonly message: string;
  readonly fields: object;
}

let directory: string;
let view: FakeAgentView;
let lines: Line[];
let log: Log;
const open: ChangeHook[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-hook-'));
  view = new FakeAgentView();
  lines = [];
  const record =
    (level: Line['level']) =>
    (fields: object, message: string): void =>
      void lines.push({ level, message, fields });
  log = { ...silentLog, info: record('info'), error: record('error') };
});
afterEach(async () => {
  for (const hook of open.splice(0)) await hook.close();
  rmSync(directory, { recursive: true });
});

const at = (name: string): string => join(directory, name);
const read = (name: string): string => (existsSync(at(name)) ? readFileSync(at(name), 'utf8') : '');
const ranTimes = (count: number): Promise<void> => expect.poll(() => lines.length, { timeout: 10_000 }).toBe(count);

function start(command: string, options: Partial<ChangeHookOptions> = {}): ChangeHook {
  const hook = new ChangeHook({
    command,
    view,
    clock: systemClock,
    log,
    settleMs: 10,
    environment: { DIR: directory },
    ...options,
  });
  open.push(hook);
  return hook;
}

describe('when a change is committed', () => {
  test('then the command learns from its environment what changed, and no key', async () => {
    start('env > "$DIR/env"');
    view.setIdentity(credential.identity);
    const bytes = view.store('wallet-kek', 1);
    view.activate('wallet-kek', 1);
    await ranTimes(1);
    const environment = Object.fromEntries(
      read('env')
        .split('\n')
        .map((line) => line.split(/=(.*)/s).slice(0, 2)),
    );
    expect(environment).toMatchObject({
      CROUPIER_CHANGES: 'identity keyring',
      CROUPIER_KEY_SETS: 'wallet-kek',
      CROUPIER_GENERATION: '3',
      CROUPIER_REALM: 'test',
      CROUPIER_DEVICE: 'egm-0001',
      CROUPIER_SERIAL: credential.identity.serial,
      CROUPIER_TRUST_VERSION: '0',
    });
    expect(JSON.parse(environment['CROUPIER_DETAILS'] ?? '')).toEqual([
      { kind: 'identity', serial: credential.identity.serial },
      { kind: 'keyring', keySet: 'wallet-kek', revision: 2, active: 1 },
    ]);
    expect(read('env')).not.toContain(bytes.toBase64());
    expect(read('env')).not.toContain(bytes.toHex());
    expect(lines[0]).toMatchObject({ level: 'info', message: 'hook ran', fields: { exitCode: 0 } });
  });

  test('then many changes at once are one run, and changes during a run are one more, never two at a time', async () => {
    start(
      'test -e "$DIR/lock" && echo overlap >> "$DIR/runs"; touch "$DIR/lock"; echo "$CROUPIER_GENERATION" >> "$DIR/runs"; while test ! -e "$DIR/go"; do sleep 0.01; done; rm "$DIR/lock"',
    );
    for (const version of [1, 2, 3]) view.store('wallet-kek', version);
    await expect.poll(() => read('runs')).toBe('3\n');
    for (const version of [4, 5]) view.store('jackpot-mac', version);
    writeFileSync(at('go'), '');
    await ranTimes(2);
    expect(read('runs')).toBe('3\n5\n');
    expect(lines[1]?.fields).toMatchObject({ changes: 'keyring', generation: 5 });
  });

  test('then it is told only once the files show it', async () => {
    let release = (): void => undefined;
    const files = new Promise<void>((resolve) => {
      release = resolve;
    });
    let asked = 0;
    start('echo ran > "$DIR/ran"', { ready: () => ((asked += 1), files) });
    view.store('wallet-kek', 1);
    await expect.poll(() => asked).toBe(1);
    expect(read('ran')).toBe('');
    release();
    await ranTimes(1);
    expect(read('ran')).toBe('ran\n');
  });
});

test('when it is triggered without a change, then it runs as at start', async () => {
  start('echo "$CROUPIER_CHANGES" > "$DIR/ran"').trigger();
  await ranTimes(1);
  expect(read('ran')).toBe('start\n');
});

describe('when the command fails', () => {
  test('then exit code and the end of stderr are logged, and the next change runs it again', async () => {
    start('head -c 10000 /dev/zero | tr "\\0" x >&2; echo "the last words" >&2; exit 3');
    view.store('wallet-kek', 1);
    await ranTimes(1);
    expect(lines[0]).toMatchObject({
      level: 'error',
      fields: { exitCode: 3, stderr: expect.stringMatching(/^x+the last words$/) },
    });
    expect(JSON.stringify(lines[0]).length).toBeLessThan(2_500);
    view.store('wallet-kek', 2);
    await ranTimes(2);
  });

  test('when it does not end in time, then it and what it started are stopped, and the next change runs it again', async () => {
    start('test -e "$DIR/second" && exit 0; touch "$DIR/second"; sleep 600 & echo $! > "$DIR/pid"; wait', {
      timeoutMs: 300,
    });
    view.store('wallet-kek', 1);
    await ranTimes(1);
    expect(lines[0]).toMatchObject({ level: 'error', fields: { timedOut: true, signal: 'SIGTERM' } });
    const started = Number(read('pid'));
    await expect.poll(() => isRunning(started)).toBe(false);
    view.store('wallet-kek', 2);
    await ranTimes(2);
    expect(lines[1]).toMatchObject({ level: 'info', fields: { exitCode: 0 } });
  });

  test('when it ignores SIGTERM, then it is killed', async () => {
    start('trap "" TERM; while :; do sleep 0.05; done', { timeoutMs: 100, killAfterMs: 100 });
    view.store('wallet-kek', 1);
    await ranTimes(1);
    expect(lines[0]).toMatchObject({ level: 'error', fields: { timedOut: true, signal: 'SIGKILL' } });
  });

  test('when it leaves a process behind that keeps stderr open, then the run is over all the same', async () => {
    start('sleep 600 & echo $! > "$DIR/pid"');
    view.store('wallet-kek', 1);
    await ranTimes(1);
    expect(lines[0]).toMatchObject({ level: 'info', fields: { exitCode: 0 } });
    process.kill(Number(read('pid')));
  });
});

describe('when the agent stops', () => {
  test('then a run under way is stopped and no other begins', async () => {
    const hook = start('echo x >> "$DIR/runs"; exec sleep 600');
    view.store('wallet-kek', 1);
    await expect.poll(() => read('runs')).toBe('x\n');
    view.store('wallet-kek', 2);
    await hook.close();
    expect(lines[0]).toMatchObject({ level: 'error', fields: { signal: 'SIGTERM' } });
    expect(view.listenerCount).toBe(0);
    expect(read('runs')).toBe('x\n');
  });
});

/** A process that ended but is not yet reaped counts as ended. */
function isRunning(pid: number): boolean {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ') X';
  return !/\) [ZX]/.test(stat);
}
