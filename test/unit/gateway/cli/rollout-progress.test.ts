import { describe, expect, test } from 'vitest';
import { isSettled } from '#gateway/cli/commands/rollout.ts';
import { describeRollout } from '#gateway/cli/commands/rollout-description.ts';
import { hasConverged, holdText, progressOf, subjectOf, summaryOf } from '#gateway/cli/commands/rollout-progress.ts';
import { paintWith } from '#gateway/cli/output/text.ts';
import { holdView, rolloutView } from '#gateway/api/views/rollouts.ts';
import type { RolloutRecord, TargetState, TargetTally } from '#gateway/ports/store/records.ts';
import type { TargetDetail } from '#gateway/ports/store/rollouts.ts';
import { holdsOf } from '#gateway/rollout/gates.ts';
import { progressOf as progressIn } from '#gateway/rollout/progress.ts';
import type { RolloutView } from '#schema/api/views.ts';
import { planTarget } from '#test/support/plan-fixtures.ts';
import { reEnrolment, rolloutRecord, second, trustRollout } from '#test/support/store-fixtures.ts';

const some = (targets: number, state: TargetState, over: Partial<TargetTally> = {}): TargetTally => ({
  wave: 0,
  service: false,
  state,
  online: true,
  deferred: false,
  old: 'in-use',
  targets,
  ...over,
});

const offline = { online: false } as const;
const held = (id: string, over: Partial<TargetDetail> = {}): TargetDetail => ({
  ...planTarget(id),
  connected: true,
  lastSeenAt: second(5),
  ...over,
});

/** The view of a rollout with these targets, the devices named behind its first hold. */
function view(
  over: Partial<Omit<RolloutRecord, 'kind'>>,
  tallies: readonly TargetTally[],
  behind: readonly TargetDetail[] = [],
  of: RolloutRecord = rolloutRecord(),
): RolloutView {
  const rollout: RolloutRecord = { ...of, ...over };
  const holds = holdsOf(rollout, progressIn(rollout, tallies), second(100));
  return rolloutView(
    { rollout, tallies },
    holds.map((hold, index) => holdView(hold, index === 0 ? behind : [])),
  );
}

const ACTIVE = { state: 'active', activatedAt: second(50) } as const;
const PAUSE = { at: second(60), by: 'kim', code: 'rollout.halted', reason: 'tournament' } as const;
const WAVES: RolloutRecord['plan'] = {
  ...rolloutRecord().plan,
  waves: [
    { name: 'canary', share: { by: 'count', count: 2 }, soakMs: 3_600_000 },
    { name: 'others', share: { by: 'rest' }, soakMs: 0 },
  ],
};

describe('when watching ends', () => {
  test('given a connected device that does not use the change yet, then it goes on; when it does, it ends', () => {
    expect(hasConverged(view(ACTIVE, [some(3, 'active'), some(1, 'stored')]))).toBe(false);
    expect(hasConverged(view(ACTIVE, [some(4, 'active')]))).toBe(true);
  });

  test('given devices that cannot answer, then nobody waits for them', () => {
    expect(hasConverged(view(ACTIVE, [some(3, 'active'), some(2, 'stored', offline), some(1, 'refused')]))).toBe(true);
    expect(hasConverged(view(ACTIVE, [some(3, 'active'), some(1, 'overdue')]))).toBe(true);
    expect(hasConverged(view(ACTIVE, [some(3, 'active'), some(1, 'exempt'), some(1, 'quarantined')]))).toBe(true);
  });

  test('given a rollout that has not activated, or is paused, then it goes on; when it has ended, it ends', () => {
    expect(hasConverged(view({ state: 'distributing' }, [some(3, 'stored')]))).toBe(false);
    expect(hasConverged(view({ ...ACTIVE, pause: PAUSE }, [some(4, 'active')]))).toBe(false);
    expect(hasConverged(view({ state: 'aborted', finishedAt: second(70) }, [some(4, 'pending')]))).toBe(true);
  });

  test('given a retirement under way, then it is watched on, though the change is in use everywhere', () => {
    expect(isSettled(view({ ...ACTIVE, state: 'retiring' }, [some(4, 'active')]))).toBe(false);
    expect(isSettled(view({ ...ACTIVE, state: 'retired' }, [some(4, 'active')]))).toBe(true);
  });
});

describe('the progress that is shown', () => {
  test('given waves, then the open one, how many there are, and who holds it', () => {
    const waiting = view(
      { plan: WAVES },
      [some(1, 'stored'), some(1, 'offered'), some(8, 'pending', { wave: 1 })],
      [held('egm-7')],
    );
    expect(progressOf(waiting)).toEqual({
      label: 'wallet-kek 2 wave canary (1 of 2) stored',
      done: 1,
      total: 2,
      note: 'wave canary: 1 target connected and not done (egm-7)',
    });
  });

  test('given a wave that soaks, then until when', () => {
    const soaking = view({ plan: WAVES, waveSettledAt: second(90) }, [some(2, 'stored')]);
    expect(progressOf(soaking).note).toBe(`wave canary soaks, until ${second(3_690).toISOString()}`);
  });

  test('given a pause, then the label says so, and the note who and why', () => {
    expect(progressOf(view({ pause: PAUSE }, [some(1, 'stored'), some(1, 'offered')]))).toMatchObject({
      label: 'wallet-kek 2 stored, paused',
      note: 'kim paused it: tournament',
    });
    expect(progressOf(view({}, [some(1, 'stored'), some(1, 'offered')])).label).toBe('wallet-kek 2 stored');
  });

  test('given devices that put the activation off, then they are named', () => {
    const busy = view(ACTIVE, [some(3, 'active'), some(1, 'stored', { deferred: true })], [held('egm-4')]);
    expect(progressOf(busy)).toMatchObject({ label: 'wallet-kek 2 active', done: 3, total: 4 });
    expect(progressOf(busy).note).toContain('(egm-4)');
  });

  test.each([
    ['retiring', 'wallet-kek 2 old version out of use', 3],
    ['destroying', 'wallet-kek 2 old version destroyed', 1],
  ] as const)('given %s, then how many have left the old version', (state, label, done) => {
    const tallies = [some(1, 'active'), some(2, 'active', { old: 'held' }), some(1, 'old-destroyed', { old: 'gone' })];
    expect(progressOf(view({ ...ACTIVE, state }, tallies))).toMatchObject({ label, done, total: 4 });
  });

  test('given many devices behind a hold, then the first ones, and how many more', () => {
    const names = ['egm-1', 'egm-2', 'egm-3', 'egm-4'].map((id) => held(id));
    const hold = { reason: 'quorum', message: '9 connected devices', targets: 9, until: undefined } as const;
    expect(holdText(holdView(hold, names))).toBe('9 connected devices (egm-1, egm-2, egm-3 and 6 more)');
  });
});

describe('what a rollout is called', () => {
  test.each([
    [rolloutRecord(), 'wallet-kek: version 1 to 2'],
    [trustRollout(), 'trust bundle 1 to 2'],
    [reEnrolment(), 're-enrolment (ca-rollover)'],
  ])('given each kind, then what it changes', (rollout, text) => {
    const shown = view({}, [], [], rollout);
    expect(subjectOf(shown)).toBe(text);
    expect(summaryOf(shown)).toMatch(new RegExp(`^${RegExp.escape(text)} is distributing; 0 of 0 devices use it`));
  });

  test('given its end, then who uses it, who will catch up, and what failed', () => {
    expect(summaryOf(view(ACTIVE, [some(3, 'active'), some(2, 'stored', offline), some(1, 'stalled')]))).toBe(
      'wallet-kek: version 1 to 2 is active; 3 of 6 devices use it; 2 offline will catch up when they return; 1 failed: see croupier rollout show\n',
    );
    expect(summaryOf(view({ pause: PAUSE }, []))).toContain('is paused (distributing): tournament;');
  });
});

describe('the description of a rollout', () => {
  test('given what holds it back, then each device by name, with what it does and since when it is away', () => {
    const tallies = [some(1, 'stored', { deferred: true }), some(20, 'active', { old: 'held' })];
    const text = describeRollout(
      view(ACTIVE, tallies, [
        held('egm-1', { state: 'stored', code: 'device.busy', deferredUntil: second(500) }),
        held('egm-2', { connected: false }),
      ]),
      paintWith(false),
    );
    expect(text).toMatch(/^what +wallet-kek: version 1 to 2$/m);
    expect(text).toMatch(/^WAVE +STATE +TARGETS +DONE +FAILED +WAITING +OFFLINE +SERVICES BEHIND/m);
    expect(text).toContain('  - 1 device defers the activation\n');
    expect(text).toContain(
      `      egm-1: stored (device.busy), deferred until ${second(500).toISOString()}, connected\n`,
    );
    expect(text).toContain(`      egm-2: pending, offline since ${second(5).toISOString()}\n`);
  });

  test('given a pause, then who, why and by which code', () => {
    expect(describeRollout(view({ pause: PAUSE }, []), paintWith(false))).toMatch(
      /^paused +.* by kim: tournament \(rollout\.halted\)$/m,
    );
    expect(describeRollout(view({}, []), paintWith(false))).not.toMatch(/^paused /m);
  });
});
