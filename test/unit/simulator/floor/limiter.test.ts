import { describe, expect, test } from 'vitest';
import { forEachLimited, Limiter } from '#simulator/floor/limiter.ts';

describe('a limit on jobs at once', () => {
  test('given more jobs than places, then no more than that run at once, in order, and all are done', async () => {
    const limiter = new Limiter(2);
    const begun: number[] = [];
    const gates = Array.from({ length: 4 }, () => Promise.withResolvers<undefined>());
    const jobs = gates.map(({ promise }, index) =>
      limiter.run(async () => {
        begun.push(index);
        await promise;
      }),
    );
    await Promise.resolve();
    expect(begun).toEqual([0, 1]);
    gates[1]?.resolve(undefined);
    await jobs[1];
    await Promise.resolve();
    expect(begun).toEqual([0, 1, 2]);
    for (const { resolve } of gates) resolve(undefined);
    await Promise.all(jobs);
    expect(begun).toEqual([0, 1, 2, 3]);
  });

  test('given a job that fails, then its place is free again', async () => {
    const limiter = new Limiter(1);
    await expect(limiter.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await limiter.run(async () => 'yes')).toBe('yes');
  });

  test('given many items, when one fails, then the fault is told and no further one begins', async () => {
    const seen: number[] = [];
    const work = forEachLimited([1, 2, 3, 4], 1, async (item) => {
      seen.push(item);
      if (item === 2) throw new Error('two');
    });
    await expect(work).rejects.toThrow('two');
    expect(seen).toEqual([1, 2]);
  });
});
