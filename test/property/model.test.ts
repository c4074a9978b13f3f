/**
 * Thousands of random stories over the pure decisions: devices come, go, lose messages and misbehave, operators say
 * whatever they may say in any order. The invariants hold after every step; once everybody is back and the operators are
 * done, both sides agree. The seed is fixed; a failure prints it with the shortest story that fails.
 */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TargetTally } from '#gateway/ports/store/records.ts';
import type { RolloutId } from '#schema/ids.ts';
import { DECISIONS, type Decisions } from '#simulator/model/decisions.ts';
import type { Conduct } from '#simulator/model/device.ts';
import { METER, ModelFloor, PLANS, WALLET, type FloorShape } from './model-floor.ts';

const SEED = Number(process.env['CROUPIER_PROPERTY_SEED'] ?? 20_261_122);
const RUNS = Number(process.env['CROUPIER_MODEL_RUNS'] ?? 2_000);
const LONG_MS = 300_000;

const index = fc.nat(1_000);
const keySet = fc.constantFrom(WALLET, METER);
const plan = fc.constantFrom(...PLANS);

const story = <Kind extends string, Fields>(
  kind: Kind,
  fields: { [Key in keyof Fields]: fc.Arbitrary<Fields[Key]> },
): fc.Arbitrary<{ do: Kind } & Fields> => fc.record<Fields>(fields).map((drawn) => ({ do: kind, ...drawn }));

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: story('wait', {
      ms: fc.constantFrom(1_000, 30_000, 5 * 60_000, 30 * 60_000, 3 * 3_600_000, 26 * 3_600_000, 3 * 86_400_000),
    }),
  },
  {
    weight: 5,
    arbitrary: story('off', { index, how: fc.constantFrom('reboot' as const, 'leave' as const, 'break' as const) }),
  },
  { weight: 5, arbitrary: story('on', { index }) },
  { weight: 2, arbitrary: story('lose', { share: fc.constantFrom(0, 0.1, 0.5, 1) }) },
  { weight: 4, arbitrary: story('rotate', { keySet, plan, supersede: fc.boolean() }) },
  { weight: 1, arbitrary: story('compromise', { keySet, index }) },
  { weight: 2, arbitrary: story('publish trust', { plan }) },
  { weight: 1, arbitrary: story('campaign', { plan }) },
  { weight: 1, arbitrary: story('pause', { index }) },
  { weight: 2, arbitrary: story('resume', { index }) },
  { weight: 1, arbitrary: story('abort', { index }) },
  { weight: 1, arbitrary: story('retry', { index }) },
  { weight: 1, arbitrary: story('exempt', { index, device: index }) },
  { weight: 2, arbitrary: story('sign off', { index, device: index }) },
  { weight: 4, arbitrary: story('retire', { index }) },
  { weight: 4, arbitrary: story('destroy', { index }) },
  { weight: 1, arbitrary: story('quarantine', { index }) },
  { weight: 1, arbitrary: story('release', { index }) },
);
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

const shapeWith = (...conducts: readonly Conduct[]): fc.Arbitrary<FloorShape> =>
  fc.record({
    seed: fc.nat(1_000_000),
    egm: fc.integer({ min: 1, max: 20 }),
    pos: fc.integer({ min: 1, max: 7 }),
    service: fc.integer({ min: 1, max: 3 }),
    conducts: fc.array(fc.constantFrom(...conducts), { minLength: 1, maxLength: 8 }),
  });
const ANY = shapeWith('ordinary', 'ordinary', 'busy', 'refuses', 'hoards');
const WILLING = shapeWith('ordinary', 'busy');

function tell(floor: ModelFloor, one: Step): void {
  const { engine, people } = floor;
  switch (one.do) {
    case 'wait':
      return floor.wait(one.ms);
    case 'off':
      return floor.off(one.index, one.how);
    case 'on':
      return floor.on(one.index);
    case 'lose':
      return floor.lose(one.share);
    case 'rotate':
      return void people.rotate(one.keySet, one.plan, one);
    case 'compromise': {
      const version = floor.version(one.keySet, one.index);
      return version === undefined ? undefined : void people.compromise(one.keySet, version);
    }
    case 'publish trust':
      return void people.publishTrust(one.plan);
    case 'campaign':
      return void people.campaign(one.plan);
    case 'quarantine':
      return engine.contain(floor.node(one.index), 'enrolment.quarantined');
    case 'release': {
      const node = floor.node(one.index);
      return node.state.device.state.kind === 'quarantined' ? engine.release(node) : undefined;
    }
    case 'exempt':
    case 'sign off': {
      const rollout = floor.rollout(one.index);
      return rollout === undefined ? undefined : tellOf(floor, rollout.id, one.do, one.device);
    }
    case 'pause':
    case 'resume':
    case 'abort':
    case 'retry':
    case 'retire':
    case 'destroy': {
      const rollout = floor.rollout(one.index);
      return rollout === undefined ? undefined : tellOf(floor, rollout.id, one.do, 0);
    }
  }
}

type OfRollout = 'exempt' | 'sign off' | 'pause' | 'resume' | 'abort' | 'retry' | 'retire' | 'destroy';

function tellOf(floor: ModelFloor, id: RolloutId, what: OfRollout, device: number): void {
  const { people } = floor;
  switch (what) {
    case 'exempt':
      return floor.exempt(id, device);
    case 'sign off':
      return void people.signOff(id, [floor.node(device).device.id]);
    case 'retry':
      return void people.retry(id, floor.devices(id, ['refused', 'stalled', 'overdue']));
    case 'pause':
    case 'resume':
    case 'abort':
    case 'retire':
    case 'destroy':
      return void people[what](id);
  }
}

function stories(decisions: Partial<Decisions>, shape: fc.Arbitrary<FloorShape>) {
  return fc.property(shape, fc.array(step, { minLength: 1, maxLength: 40 }), (floorShape, steps) => {
    const floor = new ModelFloor(floorShape, decisions);
    for (const one of steps) {
      tell(floor, one);
      floor.countsAgree();
      floor.throwIfBroken();
    }
    floor.comeToRest();
    floor.throwIfBroken();
    const faults = floor.convergence();
    if (faults.length > 0) throw new Error(faults.slice(0, 5).join('\n'));
  });
}

describe('any story of a floor', () => {
  test(
    `keeps the invariants and converges, ${RUNS} times`,
    () => {
      fc.assert(stories({}, ANY), { seed: SEED, numRuns: RUNS });
    },
    LONG_MS,
  );
});

/** The same decisions, with one of them spoilt. */
const blind = (change: (tally: TargetTally) => TargetTally) => (tallies: readonly TargetTally[]) => tallies.map(change);
const nothingOld = blind((tally) => ({ ...tally, old: 'gone' }));
const noServices = blind((tally) => ({ ...tally, service: false }));

const SABOTAGES: readonly { readonly what: string; readonly spoilt: Partial<Decisions>; readonly found: RegExp }[] = [
  {
    what: 'a retirement that does not ask who uses the old version',
    spoilt: { retire: (rollout, set, tallies, word) => DECISIONS.retire(rollout, set, nothingOld(tallies), word) },
    found: /I11/,
  },
  {
    what: 'an activation that does not wait for services',
    spoilt: { progress: (rollout, set, tallies, now) => DECISIONS.progress(rollout, set, noServices(tallies), now) },
    found: /I6/,
  },
  {
    what: 'a report whose difference nobody answers',
    spoilt: {
      report: (state, verified, policy, windows) => {
        const outcome = DECISIONS.report(state, verified, policy, windows);
        return outcome.kind === 'accepted' ? { ...outcome, dueAt: undefined } : outcome;
      },
    },
    found: /uses|holds|still/,
  },
  {
    what: 'a report that is answered at once, whatever was asked before',
    spoilt: {
      report: (state, verified, policy, windows) => {
        const outcome = DECISIONS.report(state, verified, policy, windows);
        return outcome.kind === 'accepted' && outcome.dueAt !== undefined
          ? { ...outcome, dueAt: verified.receivedAt }
          : outcome;
      },
    },
    found: /I3/,
  },
];

describe('stories find', () => {
  test.each(SABOTAGES)(
    '$what',
    ({ spoilt, found }) => {
      const result = fc.check(stories(spoilt, WILLING), { seed: SEED, numRuns: 300, endOnFailure: true });
      expect(result.failed).toBe(true);
      expect(String(result.errorInstance)).toMatch(found);
    },
    LONG_MS,
  );
});
