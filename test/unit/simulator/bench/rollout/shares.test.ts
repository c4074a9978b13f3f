import { describe, expect, test } from 'vitest';
import { TARGET_STATES } from '#gateway/ports/store/records.ts';
import { compositionFor, everyNth } from '#simulator/bench/rollout/composition.ts';
import { isAway, standingOf, STANDINGS } from '#simulator/bench/rollout/database-shares.ts';

const hundred = Array.from({ length: 100 }, (_, number) => number);

describe('the floor of a benchmark', () => {
  test.each([20, 60, 500, 10_000, 50_000])('has %i devices, two services or more among them', (devices) => {
    const { egm, kiosk, pos, service } = compositionFor(devices);
    expect(egm + kiosk + pos + service).toBe(devices);
    expect(Math.min(egm, kiosk, pos, service)).toBeGreaterThan(0);
    expect(service).toBeGreaterThanOrEqual(2);
  });

  test('those who are looked at closely are spread over all, and no more than asked', () => {
    const items = Array.from({ length: 1_001 }, (_, index) => index);
    const looked = everyNth(items, 200);
    expect(looked.length).toBeLessThanOrEqual(200);
    expect(looked.length).toBeGreaterThan(100);
    expect(Math.max(...looked)).toBeGreaterThan(900);
  });

  test('of few, everybody is looked at', () => {
    expect(everyNth([1, 2, 3], 200)).toEqual([1, 2, 3]);
  });
});

describe('where the targets of a large database stand', () => {
  test('the shares make a hundred, and no state is missing', () => {
    expect(STANDINGS.reduce((sum, { share }) => sum + share, 0)).toBe(100);
    expect(new Set(STANDINGS.map(({ state }) => state))).toEqual(new Set(TARGET_STATES));
  });

  test('any hundred in a row have those shares', () => {
    for (const { state, deferred, share } of STANDINGS) {
      const count = hundred.filter((number) => {
        const standing = standingOf(4_200 + number);
        return standing.state === state && standing.deferred === deferred;
      }).length;
      expect(count).toBe(share);
    }
  });

  test('a fifth is away, all that wait to be begun with among them', () => {
    const away = Array.from({ length: 6_000 }, (_, number) => number).filter(isAway);
    expect(away.length / 6_000).toBeGreaterThan(0.18);
    expect(away.length / 6_000).toBeLessThan(0.25);
    expect(hundred.filter((number) => standingOf(number).state === 'pending').every(isAway)).toBe(true);
  });
});
