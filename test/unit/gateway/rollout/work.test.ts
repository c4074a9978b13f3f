import { describe, expect, test } from 'vitest';
import { finish, forEachInWork, inTurns, type Work } from '#gateway/rollout/work.ts';

const numbers = Array.from({ length: 1_000 }, (_, index) => index);

function* summing(): Work<number> {
  let sum = 0;
  yield* forEachInWork(numbers, (number) => {
    sum += number;
  });
  return sum;
}

const PATIENCE_MS = 10_000;

/** Goes on until somebody else got a turn, or for long if nobody does. */
function* lonely(isInterrupted: () => boolean): Work<'interrupted' | 'alone'> {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    if (isInterrupted()) return 'interrupted';
    yield undefined;
  }
  return 'alone';
}

describe('work in pieces', () => {
  test('done at once or in turns, it comes to the same', async () => {
    expect(finish(summing())).toBe(499_500);
    expect(await inTurns(summing())).toBe(499_500);
  });

  test('between its turns other things happen', async () => {
    let isInterrupted = false;
    setImmediate(() => {
      isInterrupted = true;
    });
    expect(await inTurns(lonely(() => isInterrupted))).toBe('interrupted');
  });

  test('a fault in the middle of it is its fault', async () => {
    function* failing(): Work<never> {
      yield undefined;
      throw new RangeError('too far');
    }
    await expect(inTurns(failing())).rejects.toThrow('too far');
    expect(() => finish(failing())).toThrow('too far');
  });
});
