import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine } from '#simulator/cli.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'croupier-sim-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function run(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', ''];
  const code = await runCommandLine(args, {
    stdout: (text) => (stdout += text),
    stderr: (text) => (stderr += text),
    outputFor: () => ({ write: (text) => (stderr += text), live: false, columns: 80, paint: (_, text) => text }),
    stopSignal: () => new AbortController().signal,
  });
  return { code, stdout, stderr };
}

test('given --help, then every trouble of a floor has its option', async () => {
  const { code, stdout } = await run('floor', '--help');
  expect(code).toBe(0);
  for (const option of ['--offline', '--restart', '--slow', '--dead-clock', '--duplicate', '--refuse', '--busy']) {
    expect(stdout).toContain(option);
  }
});

test.each([
  ['--devices', '3'],
  ['--devices', 'many'],
  ['--offline', '101'],
  ['--slow', ''],
])('given %s "%s", then it says what is allowed', async (option, value) => {
  const { code, stderr } = await run('floor', option, value);
  expect(code).toBe(2);
  expect(stderr).toContain(option);
});

test('given a directory without a gateway, then it says so and what to do', async () => {
  const { code, stdout, stderr } = await run('floor', '--json', '--data', directory);
  expect(code).toBe(3);
  expect(stderr).toContain('the data directory of a gateway');
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'config.missing' } });
});
