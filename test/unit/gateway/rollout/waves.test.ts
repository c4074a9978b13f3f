import { describe, expect, test } from 'vitest';
import { assignWaves, checkPlan, examinePlan, waveOfLatecomer } from '#gateway/rollout/waves.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { egms, planDevice, planOf, type PlanDocument } from '#test/support/plan-fixtures.ts';

const wallet = planDevice('wallet-1', { class: 'service' });
const pitB = (id: string): PlanDevice => planDevice(id, { labels: { pit: 'b' } });
const PIT_B = { selector: { labels: { pit: 'b' } } };

function members(plan: RolloutPlan, devices: readonly PlanDevice[], seed = 'seed'): string[][] {
  const waves: string[][] = plan.waves.map(() => []);
  for (const { device, wave, position } of assignWaves(plan, devices, seed)) {
    const found = waves[wave];
    if (found !== undefined) found[position] = device;
  }
  return waves;
}

const sizes = (plan: RolloutPlan, devices: readonly PlanDevice[]): number[] =>
  members(plan, devices).map(({ length }) => length);

describe('assigning waves', () => {
  test('a selector takes its devices before anything else does', () => {
    const plan = planOf({ waves: [{ count: 2 }, PIT_B, { rest: true }] });
    const [first, second, rest] = members(plan, [...egms(5), pitB('egm-b1'), pitB('egm-b2')]);
    expect(first).toHaveLength(2);
    expect(second?.toSorted()).toEqual(['egm-b1', 'egm-b2']);
    expect(rest).toHaveLength(3);
  });

  test('services that no selector takes lead the first wave, beside those it counts', () => {
    const [canary] = members(planOf({ canary: { count: 3 } }), [...egms(10), wallet]);
    expect(canary).toHaveLength(4);
    expect(canary?.[0]).toBe('wallet-1');
  });

  test('a service that a selector takes goes where the selector says, and leads there', () => {
    const plan = planOf({ waves: [{ count: 1 }, { selector: { site: ['annex'] } }, { rest: true }] });
    const annex = ['egm-x', 'egm-y', 'egm-z'].map((id) => planDevice(id, { site: 'annex' }));
    const there = planDevice('wallet-2', { class: 'service', site: 'annex' });
    expect(members(plan, [...egms(3), ...annex, there])[1]?.[0]).toBe('wallet-2');
  });

  test.each<[string, PlanDocument, number, number[]]>([
    ['percent is of all targets', { waves: [{ percent: 10 }, { percent: 30 }, { percent: 60 }] }, 50, [5, 15, 30]],
    [
      'count and percent, then the rest',
      { canary: { count: 10 }, waves: [{ percent: 25 }, { rest: true }] },
      100,
      [10, 25, 65],
    ],
    ['the first percents take one even of few', { waves: [{ percent: 1 }, { rest: true }] }, 7, [1, 6]],
    [
      'a hundred percent take all, whatever the rounding',
      { waves: [{ percent: 33.3 }, { percent: 33.3 }, { percent: 33.4 }] },
      10,
      [4, 3, 3],
    ],
    ['the rest may come first', { waves: [{ rest: true }, { count: 4 }] }, 10, [6, 4]],
  ])('%s', (_, document, count, expected) => {
    expect(sizes(planOf(document), egms(count))).toEqual(expected);
  });

  test('the order of the devices does not matter, the seed does', () => {
    const plan = planOf({ waves: [{ percent: 20 }, { rest: true }] });
    const devices = [...egms(200), wallet];
    expect(members(plan, devices.toReversed())).toEqual(members(plan, devices));
    expect(members(plan, devices, 'other')).not.toEqual(members(plan, devices));
  });

  test('devices that no wave takes go to the last one', () => {
    expect(sizes(planOf({ waves: [{ count: 1 }, { percent: 10 }] }), egms(10))).toEqual([1, 9]);
  });
});

describe('a device that enrols after the start', () => {
  const plan = planOf({ waves: [{ count: 1 }, PIT_B, { count: 5 }, { rest: true }] });

  test.each<[string, PlanDevice, number]>([
    ['that a selector names belongs to its wave', pitB('egm-b9'), 1],
    ['that none names belongs to the last wave', planDevice('egm-9'), 3],
    ['of the class service belongs to the first wave', wallet, 0],
  ])('%s', (_, device, wave) => {
    expect(waveOfLatecomer(plan, device)).toBe(wave);
  });
});

describe('checking a plan against the devices', () => {
  test.each<[string, PlanDocument, readonly PlanDevice[], RegExp]>([
    [
      'selectors that overlap',
      { waves: [PIT_B, { name: 'floor', selector: { class: ['egm'] } }] },
      [wallet, pitB('egm-b1'), pitB('egm-b2'), ...egms(2)],
      /selectors of the waves wave-1 and floor both take egm-b1 and 1 more/,
    ],
    [
      'devices in no wave',
      { waves: [{ percent: 50 }, { percent: 10 }] },
      [wallet, ...egms(9)],
      /3 devices would be in no wave, egm-\d among them/,
    ],
    [
      'a count that is more than there are',
      { waves: [{ count: 8 }, { rest: true }] },
      [wallet, ...egms(5)],
      /wave-1 takes 8 devices, and 5 are left/,
    ],
    [
      'a count after percents that take all',
      { waves: [{ percent: 100 }, { name: 'late', count: 2 }] },
      egms(5),
      /late takes 2 devices, and 0 are left/,
    ],
    [
      'a sample that a wave cannot reach',
      { canary: { count: 3 }, minimumSample: 5 },
      egms(20),
      /canary can never pass: it has 3 targets, and minimumSample is 5/,
    ],
  ])('%s is refused by name', async (_, document, devices, message) => {
    const refusal = await expectRefusal('rollout.plan-invalid', () => checkPlan(planOf(document), devices));
    expect(refusal.message).toMatch(message);
    expect(refusal.message).toMatch(/^plan weekly: /);
  });

  test.each<[string, PlanDocument, readonly PlanDevice[]]>([
    ['selectors that part the floor', { waves: [PIT_B, { rest: true }] }, [wallet, pitB('egm-b1'), ...egms(2)]],
    ['percents that take all', { waves: [{ percent: 50 }, { percent: 50 }] }, [wallet, ...egms(9)]],
    ['a count of exactly what there is', { waves: [{ count: 5 }] }, [wallet, ...egms(5)]],
    ['a sample as large as the smallest wave', { canary: { count: 3 }, minimumSample: 3 }, [wallet, ...egms(20)]],
    ['every success and no error', { success: 1, errors: 0 }, [wallet, ...egms(2)]],
  ])('%s passes without a warning', (_, document, devices) => {
    const smallest = examinePlan(planOf(document), devices);
    expect(smallest.errors).toEqual([]);
    expect(checkPlan(planOf(document), devices)).toEqual([]);
  });

  test('every fault is named at once', async () => {
    const plan = planOf({ waves: [{ count: 9 }, PIT_B], minimumSample: 4 });
    const refusal = await expectRefusal('rollout.plan-invalid', () => checkPlan(plan, [...egms(5), pitB('egm-b1')]));
    expect(refusal.message.split('; ')).toHaveLength(2);
  });

  test('a floor without targets has nothing that could be wrong', () => {
    expect(checkPlan(planOf({ canary: { count: 10 }, minimumSample: 5 }), [])).toEqual(['there are no targets']);
  });
});

describe('warnings', () => {
  const away = (id: string): PlanDevice => planDevice(id, { connected: false });

  test.each<[string, PlanDocument, readonly PlanDevice[], RegExp]>([
    ['a wave without targets', { waves: [PIT_B, { rest: true }] }, egms(2), /wave-1 has no targets/],
    [
      'a wave that is offline',
      { waves: [PIT_B, { rest: true }] },
      [planDevice('egm-b1', { labels: { pit: 'b' }, connected: false }), ...egms(2)],
      /no target of the wave wave-1 is connected/,
    ],
    [
      'a wave with too few connected',
      { minimumSample: 2 },
      [...egms(1), away('egm-9')],
      /1 of 2 targets of the wave wave-1 are connected/,
    ],
    ['a rollout without services', {}, egms(2), /no target is of the class service/],
    ['thresholds with a gap between them', { success: 0.95, errors: 0.5 }, egms(2), /neither passes nor pauses/],
  ])('%s', (_, document, devices, warning) => {
    expect(checkPlan(planOf(document), devices).join('\n')).toMatch(warning);
  });
});
