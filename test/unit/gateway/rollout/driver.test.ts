import { describe, expect, test } from 'vitest';
import { decideProgress } from '#gateway/rollout/decide.ts';
import { onceReturned } from '#gateway/rollout/driver.ts';
import type { TargetTally } from '#gateway/ports/store/records.ts';
import type { RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import { active, keySet, pending, rollout } from '#test/support/delivery-fixtures.ts';
import { PLAN, second } from '#test/support/store-fixtures.ts';

const NOW = second(1_000);
const TIMEOUT_MS = 600_000;
const PLAN_OF_TWO = {
  ...PLAN,
  timeoutMs: TIMEOUT_MS,
  waves: ['one', 'two'].map((name) => ({ name, share: { by: 'rest' } as const, soakMs: 0 })),
};

const some = (targets: number, over: Partial<TargetTally>): TargetTally => ({
  wave: 0,
  service: false,
  state: 'offered',
  online: true,
  deferred: false,
  old: 'in-use',
  targets,
  ...over,
});

function decided(tallies: readonly TargetTally[], sinceMs: number): RolloutOutcome {
  const of = rollout({ plan: PLAN_OF_TWO, state: 'distributing', waveOpenedAt: second(0) });
  const outcome = decideProgress(of, keySet([active(1), pending(2)]), tallies, NOW);
  return onceReturned(of, tallies, outcome, sinceMs, NOW);
}

describe('a gateway that has just started', () => {
  const absent = [some(1, { state: 'stored' }), some(9, { state: 'pending', online: false })];

  test('given targets that have not come back, then no wave passes because they are away, for as long as a silent one is waited for', () => {
    expect(decided(absent, 10_000)).toEqual({ kind: 'stay', until: new Date(NOW.getTime() + TIMEOUT_MS - 10_000) });
    expect(decided(absent, TIMEOUT_MS)).toMatchObject({ kind: 'advance', rollout: { wave: 1 } });
  });

  test('given a service that has not come back, then it does not lag yet', () => {
    const service = [some(9, { state: 'stored' }), some(1, { service: true, online: false, state: 'offered' })];
    expect(decided(service, 10_000)).toMatchObject({ kind: 'stay' });
  });

  test('given that all targets of the wave have answered, then it passes', () => {
    const later = some(50, { wave: 1, state: 'pending', online: false });
    expect(decided([some(9, { state: 'stored' }), later], 10_000)).toMatchObject({ rollout: { wave: 1 } });
  });

  test('given too many errors, then the rollout pauses', () => {
    const failed = [some(5, { state: 'refused' }), some(5, { online: false })];
    expect(decided(failed, 10_000)).toMatchObject({ rollout: { pause: { code: 'rollout.errors-exceeded' } } });
  });
});
