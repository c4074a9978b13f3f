import { describe, expect, test } from 'vitest';
import { answerBy, decideVanished } from '#gateway/rollout/unanswered.ts';
import type { RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import { rollout } from '#test/support/delivery-fixtures.ts';
import { PLAN, reEnrolment, deviceId, rolloutId, second } from '#test/support/store-fixtures.ts';

const TIMEOUT_MS = 60_000;
const plan = { ...PLAN, timeoutMs: TIMEOUT_MS };
const distributing = rollout({ state: 'distributing', plan });
const campaign = reEnrolment({ state: 'distributing', plan });

const target = (over: Partial<RolloutTarget> = {}): RolloutTarget => ({
  rollout: rolloutId(1),
  device: deviceId('egm-1'),
  wave: 0,
  position: 0,
  service: false,
  state: 'offered',
  code: undefined,
  reason: undefined,
  deferredUntil: undefined,
  offeredAt: second(100),
  attempts: 1,
  changedAt: second(100),
  old: 'in-use',
  signedOff: undefined,
  ...over,
});

const changesOf = (of: RolloutRecord | undefined, targets: readonly RolloutTarget[], at: number) => {
  const outcome = decideVanished(of, targets, second(at));
  return outcome.kind === 'change' ? outcome.targets.map(({ state, code }) => [state, code]) : outcome;
};

describe('the time to answer', () => {
  test('given a target that was asked, then it is counted from then; one that was not asked owes nothing', () => {
    expect(answerBy(distributing, target())).toBe(second(160).getTime());
    expect(answerBy(distributing, target({ state: 'pending', offeredAt: undefined }))).toBeUndefined();
  });

  test('given a wave that was opened anew since, then everybody has the whole time once more', () => {
    expect(answerBy({ ...distributing, waveOpenedAt: second(130) }, target())).toBe(second(190).getTime());
  });

  test('given a stored version, then an answer is owed from its activation on; a device that agreed to renew owes its renewal', () => {
    const stored = target({ state: 'stored', changedAt: second(110) });
    expect(answerBy(distributing, stored)).toBeUndefined();
    expect(answerBy({ ...distributing, state: 'active', activatedAt: second(120) }, stored)).toBe(
      second(180).getTime(),
    );
    expect(answerBy(campaign, stored)).toBe(second(170).getTime());
  });
});

describe('targets that left after they were asked', () => {
  test('given one beyond its time, then it is given up, with what it told of itself if it did; one within its time is not', () => {
    expect(changesOf(distributing, [target()], 160)).toEqual([]);
    expect(changesOf(distributing, [target()], 161)).toEqual([['stalled', 'rollout.device-vanished']]);
    expect(changesOf(distributing, [target({ code: 'storage.full' })], 161)).toEqual([['stalled', 'storage.full']]);
    expect(changesOf(campaign, [target({ state: 'stored' })], 161)).toEqual([
      ['overdue', 'rollout.activation-overdue'],
    ]);
  });

  test('given a rollout that is paused, over, or beyond its waves, then nobody is given up', () => {
    const pause = { at: second(1), by: 'kim', code: 'rollout.halted', reason: 'x' } as const;
    expect(changesOf({ ...distributing, pause }, [target()], 500)).toEqual([]);
    expect(changesOf({ ...distributing, state: 'active' }, [target()], 500)).toEqual([]);
    expect(changesOf(undefined, [target()], 500)).toEqual([]);
  });
});
