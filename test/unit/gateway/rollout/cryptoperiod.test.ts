import { describe, expect, test } from 'vitest';
import { rotationLead, rotationsDue, type RotationStanding } from '#gateway/rollout/cryptoperiod.ts';
import type { KeySetRecord, KeyVersionRecord, RolloutRecord } from '#gateway/ports/store/records.ts';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import { after, DAY, keyRollout, NOON, planOf, policyWith } from '#test/support/plan-fixtures.ts';

const WALLET = KeySetName.parse('wallet-kek');
const REPORT = KeySetName.parse('report-mac');

function version(number: number, state: KeyVersionRecord['state'], activatedAt: Date | undefined): KeyVersionRecord {
  return {
    keySet: WALLET,
    version: KeyVersionNumber.parse(number),
    state,
    retiredAt: undefined,
    wrapped: undefined,
    kek: 'kek',
    kcv: '000000',
    createdAt: NOON,
    activatedAt,
    deactivatedAt: undefined,
    compromisedAt: undefined,
    destroyedAt: undefined,
  };
}

function keySet(versions: readonly KeyVersionRecord[], name = WALLET): KeySetRecord {
  return {
    name,
    algorithm: 'AES-256',
    use: 'wrap',
    scope: 'shared',
    selector: {},
    cryptoperiodMs: 90 * DAY,
    revision: 1,
    createdAt: NOON,
    versions,
  };
}

type Rotation = NonNullable<PolicyDocument['keySets']>[string]['rotation'];

function standing(
  versions: readonly KeyVersionRecord[],
  { rotation, open = [], now = NOON }: { rotation?: Rotation; open?: readonly RolloutRecord[]; now?: Date } = {},
): RotationStanding | undefined {
  const policy = policyWith({
    keySets: { 'wallet-kek': { algorithm: 'AES-256', use: 'wrap', scope: 'shared', rotation } },
    rollouts: { plans: { careful: {} } },
  });
  return rotationsDue([keySet(versions)], policy, open, now)[0];
}

const ACTIVE = version(2, 'active', NOON);

describe('where a key set stands in its cryptoperiod', () => {
  test.each<[string, number, RotationStanding['state']]>([
    ['fresh', 0, 'in-period'],
    ['just before the lead', 76 * DAY - 1, 'in-period'],
    ['at the lead', 76 * DAY, 'due'],
    ['just before the end', 90 * DAY - 1, 'due'],
    ['at the end', 90 * DAY, 'overdue'],
  ])('%s', (_, age, state) => {
    expect(standing([version(1, 'deactivated', after(-90 * DAY)), ACTIVE], { now: after(age) })).toEqual({
      keySet: WALLET,
      version: 2,
      state,
      dueAt: after(76 * DAY),
      endsAt: after(90 * DAY),
      start: 'propose',
      plan: 'default',
    });
  });

  test('the policy names lead, start and plan', () => {
    const rotation: Rotation = { start: 'automatic', lead: '30d', plan: 'careful' };
    expect(standing([ACTIVE], { rotation, now: after(60 * DAY) })).toMatchObject({
      state: 'due',
      dueAt: after(60 * DAY),
      start: 'automatic',
      plan: 'careful',
    });
  });

  test.each<[string, number, number]>([
    ['14 days', 90 * DAY, 14 * DAY],
    ['at most a quarter of the cryptoperiod', 8 * DAY, 2 * DAY],
  ])('without a lead in the policy it is %s', (_, cryptoperiod, lead) => {
    expect(rotationLead(cryptoperiod, undefined)).toBe(lead);
  });

  test('without an active version it is overdue, until a new one is under way', () => {
    const compromised = version(2, 'compromised', NOON);
    expect(standing([compromised])).toMatchObject({ state: 'overdue', version: undefined, endsAt: undefined });
    const successor = keyRollout(planOf({}), { toVersion: KeyVersionNumber.parse(3) });
    expect(standing([compromised], { open: [successor] })).toMatchObject({ state: 'under-way' });
  });
});

describe('a rotation is under way', () => {
  const next = (state: RolloutRecord['state'], name = WALLET): RolloutRecord =>
    keyRollout(planOf({}), { keySet: name, state, toVersion: KeyVersionNumber.parse(3) });
  const late = after(100 * DAY);

  test.each(['approved', 'distributing', 'ready'] as const)('while a newer version is %s', (state) => {
    expect(standing([ACTIVE], { open: [next(state)], now: late })).toMatchObject({ state: 'under-way' });
  });

  test.each<[string, RolloutRecord]>([
    ['of another key set', next('distributing', REPORT)],
    ['that was superseded', next('superseded')],
    [
      'of the version that is active',
      keyRollout(planOf({}), { state: 'active', toVersion: KeyVersionNumber.parse(2) }),
    ],
    [
      'of the version that is active, retiring the one before',
      keyRollout(planOf({}), { state: 'retiring', toVersion: KeyVersionNumber.parse(2) }),
    ],
  ])('but not for a rollout %s', (_, rollout) => {
    expect(standing([ACTIVE], { open: [rollout], now: late })).toMatchObject({ state: 'overdue' });
  });
});
