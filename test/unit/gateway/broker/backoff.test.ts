import { describe, expect, it } from 'vitest';
import { backoffMs } from '#gateway/broker/external.ts';

describe('the reconnection of the external broker', () => {
  const limits = { firstMs: 500, maxMs: 30_000 };

  it('waits a random part of a limit that doubles up to the maximum', () => {
    expect([0, 1, 2, 5, 6, 1000].map((failures) => backoffMs(limits, failures, 1))).toEqual([
      500, 1000, 2000, 16_000, 30_000, 30_000,
    ]);
    expect(backoffMs(limits, 2, 0.25)).toBe(500);
  });
});
