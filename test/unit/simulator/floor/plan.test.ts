import { describe, expect, test } from 'vitest';
import { compositionOf } from '#simulator/floor/composition.ts';
import { chooseOffline, planFloor, type BehaviourShares } from '#simulator/floor/plan.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const NOW = new Date('2026-11-21T12:00:00Z');
const plan = (seed: string, size: number, shares: BehaviourShares = {}) => planFloor({ seed, size, shares, now: NOW });
const idsOf = (plans: readonly { readonly id: string }[]): string[] => plans.map(({ id }) => id);

describe('how many of which class', () => {
  test.each([
    [200, { egm: 150, kiosk: 30, pos: 18, service: 2 }],
    [20, { egm: 14, kiosk: 3, pos: 1, service: 2 }],
    [4, { egm: 2, kiosk: 0, pos: 0, service: 2 }],
    [5_000, { egm: 3_750, kiosk: 750, pos: 450, service: 50 }],
  ])('given %i devices, then three quarters are slot machines and two at least are services', (devices, expected) => {
    expect(compositionOf(devices)).toEqual(expected);
  });

  test.each([3, 5_001, 12.5])('given %d devices, then that is no floor', async (devices) => {
    await expectRefusal('input.invalid', () => compositionOf(devices));
  });
});

describe('a floor from a seed', () => {
  test('given the same seed, then the floor is the same, troubles and all', () => {
    const shares = { offline: 10, 'dead-clock': 5, busy: 3 };
    expect(plan('a', 200, shares)).toEqual(plan('a', 200, shares));
  });

  test('given another seed, then the ids are the same and the machines are not', () => {
    const [a, b] = [plan('a', 200), plan('b', 200)];
    expect(idsOf(a)).toEqual(idsOf(b));
    expect(a.map(({ row }) => row.serial)).not.toEqual(b.map(({ row }) => row.serial));
  });

  test('given a larger floor of the same seed, then it holds the smaller one unchanged', () => {
    const larger = new Map(plan('a', 400).map((device) => [device.id, device]));
    for (const device of plan('a', 200)) expect(larger.get(device.id)).toEqual(device);
  });

  test('given any device, then its row is one that an inventory takes, and its id is unique', () => {
    const plans = plan('a', 1_000);
    for (const { row } of plans) expect(InventoryRow.parse(row)).toEqual(row);
    expect(new Set(idsOf(plans)).size).toBe(1_000);
    expect(idsOf(plans)).toContain('EGM-000123');
  });

  test('given key types, then RSA is for few slot machines and nobody else', () => {
    const plans = plan('a', 2_000);
    const rsa = plans.filter(({ keyAlgorithm }) => keyAlgorithm === 'RSA-2048');
    expect(rsa.length).toBeGreaterThan(10);
    expect(rsa.length).toBeLessThan(100);
    expect(new Set(rsa.map((device) => device.class))).toEqual(new Set(['egm']));
    expect(plans.filter(({ keyAlgorithm }) => keyAlgorithm === 'EC-P256').length).toBeGreaterThan(1_800);
  });
});

describe('who has troubles', () => {
  test('given shares, then so many devices have each trouble, and services none', () => {
    const plans = plan('a', 200, { restart: 5, slow: 50, duplicate: 100 });
    const having = (kind: string) => plans.filter(({ behaviours }) => behaviours.some((one) => one.kind === kind));
    expect(having('restart')).toHaveLength(10);
    expect(having('slow')).toHaveLength(100);
    expect(having('duplicate')).toHaveLength(198);
    expect(having('refuse')).toHaveLength(0);
    expect(plans.filter((device) => device.class === 'service').flatMap(({ behaviours }) => behaviours)).toEqual([]);
  });

  test('given dead clocks, then they show 1970, 2000 and ten years from now', () => {
    const years = plan('a', 200, { 'dead-clock': 50 })
      .flatMap(({ behaviours }) => behaviours)
      .map((behaviour) => (behaviour.kind === 'dead-clock' ? behaviour.shows.getUTCFullYear() : undefined));
    expect(new Set(years)).toEqual(new Set([1970, 2000, 2036]));
  });

  test('given a part that is switched off, then it is the same part each time, of the size asked for, without services', () => {
    const plans = plan('a', 200);
    const off = chooseOffline(plans, 'a', 15);
    expect(off).toHaveLength(30);
    expect(idsOf(off)).toEqual(idsOf(chooseOffline(plan('a', 200), 'a', 15)));
    expect(idsOf(off)).not.toEqual(idsOf(chooseOffline(plans, 'b', 15)));
    expect(off.some((device) => device.class === 'service')).toBe(false);
  });
});

test('given a prefix, then every id begins with it, and the seed draws the same floor', () => {
  const options = { seed: 's', size: 40, shares: { restart: 50 }, now: new Date(0) };
  const [plain, prefixed] = [planFloor(options), planFloor({ ...options, prefix: 'S1-' })];
  expect(prefixed.map(({ id }) => id)).toEqual(plain.map(({ id }) => `S1-${id}`));
  expect(prefixed.map(({ row, behaviours }) => [row.site, row.serial, behaviours])).toEqual(
    plain.map(({ row, behaviours }) => [row.site, row.serial, behaviours]),
  );
  const names = (plans: typeof plain): string[] => chooseOffline(plans, 's', 30).map(({ name }) => name);
  expect(names(prefixed)).toEqual(names(plain));
});
