import { describe, expect, test } from 'vitest';
import { growth, quantile, summaryOf } from '#simulator/bench/rollout/quantiles.ts';

describe('what repeated measurements say', () => {
  test('the median and the 99th percentile are measurements that were made, whatever their order', () => {
    const values = Array.from({ length: 200 }, (_, index) => 200 - index);
    expect(summaryOf(values)).toEqual({ median: 100, p99: 198 });
  });

  test('of one measurement, that is both', () => {
    expect(summaryOf([7])).toEqual({ median: 7, p99: 7 });
  });

  test('no measurement says nothing, rather than something small', () => {
    expect(quantile([], 0.5)).toBeNaN();
  });

  test('growth compares the last size with the first', () => {
    expect(growth([2, 9, 3])).toBe(1.5);
    expect(growth([])).toBeNaN();
    expect(growth([0, 1])).toBeNaN();
  });
});
