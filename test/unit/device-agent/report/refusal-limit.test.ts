import { expect, test } from 'vitest';
import { RefusalLimit } from '#agent/report/refusal-limit.ts';
import { Seq } from '#schema/ids.ts';
import type { UpdateResult } from '#schema/messages/report.ts';

const refusal = (seq: number, code: string): UpdateResult => ({ seq: Seq.parse(seq), outcome: 'refused', code });

test('given a flood, then the first of each kind is reported at once, the others are kept for later', () => {
  const limit = new RefusalLimit(1_000);
  expect(limit.admit(refusal(1, 'a'), 0)).toBe(true);
  expect(limit.admit(refusal(2, 'a'), 10)).toBe(false);
  expect(limit.admit(refusal(3, 'b'), 20)).toBe(true);
  expect(limit.isHolding).toBe(true);
  expect(limit.take()).toEqual([refusal(2, 'a')]);
  expect(limit.isHolding).toBe(false);
  expect(limit.admit(refusal(4, 'a'), 1_000)).toBe(true);
});

test('given more than a report can carry, then the latest are kept', () => {
  const limit = new RefusalLimit(1_000);
  for (let seq = 1; seq <= 40; seq += 1) limit.admit(refusal(seq, 'a'), 0);
  expect(limit.take().map(({ seq }) => seq)).toEqual(Array.from({ length: 16 }, (_, index) => index + 25));
});
