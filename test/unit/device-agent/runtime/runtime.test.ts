import { describe, expect, test } from 'vitest';
import { Backoff } from '#agent/runtime/backoff.ts';
import { Deadlines } from '#agent/runtime/deadlines.ts';
import { SerialQueue } from '#agent/runtime/serial-queue.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { seededRandom } from '#schema/runtime/random.ts';

describe('backoff', () => {
  test('given failures, then each wait is within a bound that doubles up to the maximum, and begins anew after success', () => {
    const backoff = new Backoff(100, 1_000, seededRandom('backoff'));
    for (const bound of [100, 200, 400, 800, 1_000, 1_000]) expect(backoff.next()).toBeLessThanOrEqual(bound);
    backoff.reset();
    expect(backoff.next()).toBeLessThanOrEqual(100);
  });

  test('given many devices, then their waits differ', () => {
    const waits = Array.from({ length: 50 }, (_, index) => new Backoff(1_000, 1_000, seededRandom(`${index}`)).next());
    expect(new Set(waits).size).toBeGreaterThan(40);
  });

  test('given a wait that the server asked for, then it is kept, and stretched a little', () => {
    const wait = new Backoff(10, 20, seededRandom('asked')).next(5_000);
    expect(wait).toBeGreaterThanOrEqual(5_000);
    expect(wait).toBeLessThanOrEqual(5_500);
  });
});

describe('serial queue', () => {
  test('given jobs of different length, then they run one after the other, in order; a failure fails alone', async () => {
    const queue = new SerialQueue();
    const log: string[] = [];
    const slow = queue.run(async () => {
      log.push('slow begins');
      await new Promise((resolve) => setImmediate(resolve));
      log.push('slow ends');
    });
    const failing = queue.run(() => Promise.reject(new Error('no')));
    const fast = queue.run(async () => log.push('fast'));
    expect(queue.length).toBe(3);
    await expect(failing).rejects.toThrow('no');
    await Promise.all([slow, fast]);
    expect(log).toEqual(['slow begins', 'slow ends', 'fast']);
    await queue.idle();
    expect(queue.length).toBe(0);
  });
});

describe('deadlines', () => {
  test('given a deadline that is set again or cleared, then only what was set last falls due', () => {
    const clock = new ManualClock(new Date(0));
    const deadlines = new Deadlines<'one' | 'two'>(clock);
    const log: string[] = [];
    deadlines.set('one', 10, () => log.push('first'));
    deadlines.set('one', 20, () => log.push('second'));
    deadlines.set('two', 15, () => log.push('two'));
    deadlines.clear('two');
    clock.advance(100);
    expect(log).toEqual(['second']);
    expect(deadlines.isSet('one')).toBe(false);
  });
});
