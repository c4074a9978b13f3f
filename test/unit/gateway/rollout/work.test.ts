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

/** Longer than one turn, whatever the machine. */
function* waiting(ms: number): Work<string> {
  const end = performance.now() + ms;
  while (performance.now() < end) yield undefined;
  return 'done';
}

describe('work in pieces', () => {
  test('done at once or in turns, it comes to the same', async () => {
    expect(finish(summing())).toBe(499_500);
    expect(await inTurns(summing())).toBe(499_500);
  });

  test('between its turns other things happen', async () => {
    let turns = 0;
    const count = (): void => {
      turns += 1;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    const result = await inTurns(waiting(30));
    clearImmediate(next);
    expect(result).toBe('done');
    expect(turns).toBeGreaterThan(1);
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
