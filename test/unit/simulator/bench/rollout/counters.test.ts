import { describe, expect, test } from 'vitest';
import { since, sumOf } from '#simulator/bench/rollout/counters.ts';

const METRICS = `# HELP croupier_updates_total Updates handed to the broker
# TYPE croupier_updates_total counter
croupier_updates_total{kind="sent"} 1200
croupier_updates_total{kind="failed"} 3
croupier_updates_total_created{kind="sent"} 9999
croupier_trust_links_total 17
`;

describe('counters of the gateway', () => {
  test('samples of all labels are added up', () => {
    expect(sumOf(METRICS, 'croupier_updates_total')).toBe(1203);
  });

  test('a sample without labels counts, too', () => {
    expect(sumOf(METRICS, 'croupier_trust_links_total')).toBe(17);
  });

  test('a metric whose name only begins alike is another one', () => {
    expect(sumOf(METRICS, 'croupier_trust_links')).toBe(0);
  });

  test('what happened in between is the difference of each', () => {
    const before = { updates: 5, trustLinks: 1, reports: 10 };
    const now = { updates: 9, trustLinks: 1, reports: 30 };
    expect(since(before, now)).toEqual({ updates: 4, trustLinks: 0, reports: 20 });
  });
});
