import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countLogErrors } from '#simulator/process/log-errors.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'croupier-log-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function logOf(...lines: readonly string[]): Promise<string> {
  const file = join(directory, `${lines.length}.log`);
  await writeFile(file, lines.map((line) => `${line}\n`).join(''));
  return file;
}

test('given lines below error, then there is no error', async () => {
  const file = await logOf('{"level":30,"msg":"ready"}', '', '{"level":40,"msg":"hm"}');
  expect(await countLogErrors(file, 0)).toEqual({ count: 0, messages: [] });
});

test('given errors, a fatal one and the trace of a crash, then all of them count', async () => {
  const file = await logOf('{"level":50,"msg":"a"}', '{"level":30,"msg":"b"}', '{"level":60,"msg":"c"}', 'Error: d');
  expect(await countLogErrors(file, 0)).toEqual({ count: 3, messages: ['a', 'c', 'Error: d'] });
});

test('given errors of a former run, then only what came after them counts', async () => {
  const file = await logOf('{"level":50,"msg":"old"}', '{"level":50,"msg":"new"}');
  expect(await countLogErrors(file, '{"level":50,"msg":"old"}\n'.length)).toEqual({ count: 1, messages: ['new'] });
});
