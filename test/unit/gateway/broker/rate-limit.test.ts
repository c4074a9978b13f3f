import { describe, expect, it } from 'vitest';
import { TokenBucket } from '#gateway/broker/rate-limit.ts';

const takeAll = (bucket: TokenBucket, now: number): number => {
  let taken = 0;
  while (bucket.take(now)) taken += 1;
  return taken;
};

describe('TokenBucket', () => {
  it('given a fresh bucket, then it gives its burst and no more', () => {
    expect(takeAll(new TokenBucket({ perSecond: 10, burst: 5 }, 0), 0)).toBe(5);
  });

  it('given an empty bucket, when time passes, then tokens come back at the rate, up to the burst', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 5 }, 1000);
    takeAll(bucket, 1000);
    expect(bucket.take(1099)).toBe(false);
    expect(takeAll(bucket, 1300)).toBe(3);
    expect(takeAll(bucket, 60_000)).toBe(5);
  });

  it('given refusals in between, then they cost nothing', () => {
    const bucket = new TokenBucket({ perSecond: 1, burst: 1 }, 0);
    takeAll(bucket, 0);
    for (let now = 0; now < 1000; now += 10) bucket.take(now);
    expect(bucket.take(1000)).toBe(true);
  });

  it('given a clock that stands or goes back, then nothing is gained', () => {
    const bucket = new TokenBucket({ perSecond: 1000, burst: 2 }, 5000);
    takeAll(bucket, 5000);
    expect(bucket.take(4000)).toBe(false);
    expect(bucket.take(5000)).toBe(false);
    expect(bucket.take(5001)).toBe(true);
  });
});
