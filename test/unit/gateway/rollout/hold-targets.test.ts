import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  OLD_VERSION_STATES,
  TARGET_STATES,
  type RolloutRecord,
  type RolloutTarget,
  type TargetTally,
} from '#gateway/ports/store/records.ts';
import { holdsOf, type HoldReason } from '#gateway/rollout/gates.ts';
import { heldBy, type HeldBy } from '#gateway/rollout/hold-targets.ts';
import { progressOf } from '#gateway/rollout/progress.ts';
import { DeviceId } from '#schema/ids.ts';
import { reEnrolment, rolloutRecord, second, trustRollout } from '#test/support/store-fixtures.ts';

type Target = Pick<RolloutTarget, 'device' | 'wave' | 'service' | 'state' | 'old'> & {
  readonly online: boolean;
  readonly deferred: boolean;
};

const WAVES = 2;
const NOW = second(1_000);

const targets: fc.Arbitrary<readonly Target[]> = fc
  .array(
    fc.record({
      wave: fc.nat(WAVES - 1),
      service: fc.boolean(),
      state: fc.constantFrom(...TARGET_STATES),
      old: fc.constantFrom(...OLD_VERSION_STATES),
      online: fc.boolean(),
      deferred: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .map((list) => list.map((target, index) => ({ ...target, device: DeviceId.parse(`egm-${index}`) })));

const plan: RolloutRecord['plan'] = {
  ...rolloutRecord().plan,
  waves: Array.from({ length: WAVES }, (_, index) => ({
    name: `wave-${index + 1}`,
    share: { by: 'rest' as const },
    soakMs: 0,
  })),
  minimumSample: 2,
};

const rollouts: fc.Arbitrary<RolloutRecord> = fc
  .record({
    kind: fc.constantFrom(rolloutRecord(), trustRollout(), reEnrolment()),
    state: fc.constantFrom<RolloutRecord['state'][]>('distributing', 'ready', 'active', 'retiring', 'destroying'),
    wave: fc.nat(WAVES - 1),
  })
  .map(({ kind, state, wave }) => ({ ...kind, plan, state, wave }));

const tallied = (list: readonly Target[]): TargetTally[] => list.map((target) => ({ ...target, targets: 1 }));

/** What the store answers to the filter. */
const chosen = (list: readonly Target[], filter: HeldBy): readonly Target[] =>
  list.filter(
    ({ wave, online, service, deferred, state, old }) =>
      (filter.wave ?? wave) === wave &&
      (filter.online ?? online) === online &&
      (filter.service ?? service) === service &&
      (filter.deferred ?? deferred) === deferred &&
      (filter.states ?? [state]).includes(state) &&
      (filter.old ?? [old]).includes(old),
  );

const COUNTED: readonly HoldReason[] = [
  'wave-waiting',
  'wave-vanished',
  'wave-unproven',
  'wave-failing',
  'services',
  'quorum',
  'activation',
  'deferred',
  'behind',
  'old-in-use',
  'old-held',
];

describe('the targets behind a hold', () => {
  test('given any rollout, then as many are named as the hold counts', () => {
    const seen = new Set<HoldReason>();
    fc.assert(
      fc.property(rollouts, targets, (rollout, list) => {
        for (const { reason, targets: count } of holdsOf(rollout, progressOf(rollout, tallied(list)), NOW)) {
          if (!COUNTED.includes(reason)) continue;
          seen.add(reason);
          const filter = heldBy(rollout, reason);
          expect(filter, reason).toBeDefined();
          expect(chosen(list, filter ?? {}).length, reason).toBe(count);
        }
      }),
      { numRuns: 3_000 },
    );
    expect([...seen].sort()).toEqual([...COUNTED].sort());
  });

  test('given a pause, then those are named who caused it, and nobody when a person did', () => {
    const paused = (code: 'rollout.errors-exceeded' | 'rollout.service-lags' | 'rollout.halted') =>
      heldBy(rolloutRecord({ pause: { at: NOW, by: 'kim', code, reason: 'x' } }), 'paused');
    expect(paused('rollout.errors-exceeded')).toEqual({ states: ['refused', 'stalled', 'overdue'] });
    expect(paused('rollout.service-lags')).toMatchObject({ service: true });
    expect(paused('rollout.halted')).toBeUndefined();
  });

  test('given a hold that waits for a time, then it is nobody', () => {
    for (const reason of ['preparing', 'start-time', 'soak'] as const)
      expect(heldBy(rolloutRecord(), reason)).toBeUndefined();
  });
});
