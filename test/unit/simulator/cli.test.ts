import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simulate } from '#test/support/scenario-run.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'croupier-sim-'));
});
afterAll(() => rm(directory, { recursive: true }));

test('given --help, then every trouble of a floor has its option', async () => {
  const { code, stdout } = await simulate('floor', '--help');
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
  const { code, stderr } = await simulate('floor', option, value);
  expect(code).toBe(2);
  expect(stderr).toContain(option);
});

test('given a directory without a gateway, then it says so and what to do', async () => {
  const { code, stdout, stderr } = await simulate('floor', '--json', '--data', directory);
  expect(code).toBe(3);
  expect(stderr).toContain('the data directory of a gateway');
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'config.missing' } });
});
