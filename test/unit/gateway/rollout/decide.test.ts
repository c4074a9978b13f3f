import { describe, expect, test } from 'vitest';
import { decideProgress } from '#gateway/rollout/decide.ts';
import {
  decideAbort,
  decideDestroy,
  decidePause,
  decideResume,
  decideRetire,
} from '#gateway/rollout/decide-operator.ts';
import { holdsOf } from '#gateway/rollout/gates.ts';
import { progressOf } from '#gateway/rollout/progress.ts';
import type { KeyVersionRollout, RolloutRecord, TargetState, TargetTally } from '#gateway/ports/store/records.ts';
import type { RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import { accepted, active, destroyed, keySet, pending, retired, rollout } from '#test/support/delivery-fixtures.ts';
import { keyVersion, rolloutRecord, second, trustRollout } from '#test/support/store-fixtures.ts';

const KIM = { actor: { type: 'operator', id: 'kim' } as const, approval: undefined, now: second(1_000) };
const NOW = second(100);
const STAY = { kind: 'stay', until: undefined };
const TWO_VERSIONS = keySet([active(1), pending(2)]);

/** `count` targets that are alike, connected and with the old version in use unless said otherwise. */
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
const plan = (over: Partial<RolloutPlan>): RolloutPlan => ({ ...rolloutRecord().plan, ...over });
const waves = (...soaks: number[]): RolloutPlan['waves'] =>
  soaks.map((soakMs, index) => ({ name: `wave-${index + 1}`, share: { by: 'rest' }, soakMs }));

const step = (of: RolloutRecord, tallies: readonly TargetTally[], now = NOW, set = TWO_VERSIONS): RolloutOutcome =>
  decideProgress(of, set, tallies, now);

const stepOf = (
  over: Partial<KeyVersionRollout>,
  tallies: readonly TargetTally[],
  now = NOW,
  set = TWO_VERSIONS,
): RolloutOutcome => step(rollout(over), tallies, now, set);

const holds = (over: Partial<KeyVersionRollout>, tallies: readonly TargetTally[]) =>
  holdsOf(rollout(over), progressOf(rollout(over), tallies), NOW).map(({ reason }) => reason);

describe('the beginning', () => {
  const approved = { state: 'approved', waveOpenedAt: undefined } as const;

  test('given targets that are not all recorded, then nothing is sent', () => {
    expect(stepOf({ ...approved, preparedAt: undefined }, [])).toEqual(STAY);
    expect(holds({ ...approved, preparedAt: undefined }, [])).toEqual(['preparing']);
  });

  test('given a start time that has not come, then it is waited for; when it has come, then the first wave opens', () => {
    const later = { ...approved, startAt: second(500) };
    expect(stepOf(later, [some(3, 'pending')])).toEqual({ kind: 'stay', until: second(500) });
    expect(stepOf(later, [some(3, 'pending')], second(500))).toMatchObject({
      kind: 'advance',
      rollout: { state: 'distributing', wave: 0, waveOpenedAt: second(500) },
      due: 'unanswered',
    });
  });
});

describe('a wave', () => {
  const twoWaves = { plan: plan({ waves: waves(60_000, 0), minimumSample: 4 }) };

  test('given a connected target that has not answered, then the wave waits for it; one that was offline before holds it up not', () => {
    expect(stepOf(twoWaves, [some(9, 'stored'), some(1, 'offered')])).toEqual(STAY);
    expect(stepOf(twoWaves, [some(9, 'stored'), some(5, 'pending', offline)])).toMatchObject({
      rollout: { wave: 0, waveSettledAt: NOW },
    });
  });

  test('given targets that left after they were asked, then the wave waits for them if it would fail without, and not otherwise', () => {
    const left = (count: number) => [some(18, 'stored'), some(count, 'offered', offline)];
    expect(stepOf(twoWaves, left(2)), 'a tenth may fail').toMatchObject({ rollout: { waveSettledAt: NOW } });
    expect(stepOf(twoWaves, left(3))).toEqual(STAY);
    expect(holds(twoWaves, left(3))).toEqual(['wave-vanished']);
    expect(stepOf(twoWaves, [some(18, 'stored'), some(3, 'stalled', offline)])).toMatchObject({
      rollout: { pause: { code: 'rollout.errors-exceeded' } },
    });
  });

  test('given a wave that went away as a whole when it was asked, then it is waited for', () => {
    expect(stepOf(twoWaves, [some(1, 'offered', offline)])).toEqual(STAY);
    expect(holds(twoWaves, [some(1, 'offered', offline)])).toEqual(['wave-vanished']);
  });

  test('given fewer executed targets than the sample, then nothing is judged yet', () => {
    expect(stepOf(twoWaves, [some(3, 'stored'), some(7, 'pending', offline)])).toEqual(STAY);
    expect(holds(twoWaves, [some(3, 'stored'), some(7, 'pending', offline)])).toEqual(['wave-unproven']);
  });

  test('given a wave smaller than the sample, then all of it is the sample', () => {
    expect(stepOf(twoWaves, [some(3, 'stored')])).toMatchObject({ rollout: { waveSettledAt: NOW } });
  });

  test('given a wave that has passed, then it soaks for its time, and then the next one opens', () => {
    const soaking = { ...twoWaves, waveSettledAt: second(50) };
    expect(stepOf(soaking, [some(9, 'stored')])).toEqual({ kind: 'stay', until: second(110) });
    expect(holds(soaking, [some(9, 'stored')])).toEqual(['soak']);
    expect(stepOf(soaking, [some(9, 'stored')], second(110))).toMatchObject({
      rollout: { state: 'distributing', wave: 1, waveOpenedAt: second(110), waveSettledAt: undefined },
      due: 'unanswered',
    });
  });

  test('given errors over the threshold, then the rollout pauses by itself, even while it soaks', () => {
    const failing = [some(7, 'stored'), some(2, 'refused'), some(1, 'stalled')];
    for (const settled of [undefined, second(90)]) {
      expect(stepOf({ ...twoWaves, waveSettledAt: settled }, failing)).toMatchObject({
        kind: 'advance',
        rollout: { state: 'distributing', pause: { code: 'rollout.errors-exceeded', by: 'the gateway' } },
        audit: [{ action: 'rollout.pause', code: 'rollout.errors-exceeded' }],
      });
    }
  });

  test('given as many errors as the plan allows, then it goes on', () => {
    expect(stepOf(twoWaves, [some(9, 'stored'), some(1, 'refused')])).toMatchObject({ rollout: { pause: undefined } });
  });

  test('given that it can no longer reach its success, then it pauses instead of waiting for ever', () => {
    const strict = { plan: plan({ success: 0.95, errors: 0.1 }) };
    const hopeless = [some(12, 'stored'), some(1, 'refused')];
    expect(stepOf(strict, hopeless)).toMatchObject({ rollout: { pause: { code: 'rollout.errors-exceeded' } } });
    const stillOpen = [...hopeless, some(40, 'pending', offline)];
    expect(stepOf(strict, stillOpen)).toEqual(STAY);
    expect(holds(strict, stillOpen)).toEqual(['wave-failing']);
  });

  test('given exempt, quarantined and superseded targets, then they count neither way', () => {
    const out = [some(5, 'exempt'), some(5, 'quarantined'), some(5, 'superseded')];
    expect(stepOf({}, [...out, some(1, 'stored')])).toMatchObject({ rollout: { state: 'ready' } });
  });

  test('given a later wave of which nobody can be reached, then what earlier waves proved is enough', () => {
    const second2 = { plan: plan({ waves: waves(0, 0), minimumSample: 4 }), wave: 1 };
    const away = some(50, 'pending', { wave: 1, ...offline });
    expect(stepOf(second2, [some(9, 'stored'), away])).toMatchObject({ rollout: { state: 'ready' } });
    expect(stepOf(second2, [away]), 'nothing was proved at all').toEqual(STAY);
  });
});

describe('activation waits for what was measured', () => {
  const ready = { state: 'ready' } as const;
  const service = { service: true } as const;

  test('given all reachable targets have stored it, then it is ready and active, whoever is offline', () => {
    const tallies = [some(9, 'stored'), some(3, 'pending', offline)];
    expect(stepOf({}, tallies)).toMatchObject({ kind: 'advance', rollout: { state: 'ready' }, versions: [] });
    expect(stepOf(ready, tallies)).toMatchObject({
      rollout: { state: 'active', activatedAt: NOW },
      versions: [
        { version: 2, state: 'active' },
        { version: 1, state: 'deactivated', retired: false, erase: false },
      ],
    });
  });

  test.each<[string, TargetTally]>([
    ['a connected device came back without it', some(1, 'pending')],
    ['a service lacks it, even an offline one', some(1, 'pending', { ...service, ...offline })],
    ['a service refuses it', some(1, 'refused', service)],
  ])('given that %s, then it stays ready', (_, behind) => {
    expect(stepOf(ready, [some(20, 'stored'), behind]).kind).toBe('stay');
    expect(holds(ready, [some(20, 'stored'), behind])).toHaveLength(1);
  });

  test('given a quorum below all, then so many of those that can be reached are enough', () => {
    const most = { ...ready, plan: plan({ quorum: 0.9 }) };
    expect(stepOf(most, [some(9, 'stored'), some(1, 'pending')])).toMatchObject({ rollout: { state: 'active' } });
    expect(stepOf(most, [some(8, 'stored'), some(2, 'pending')])).toEqual(STAY);
  });

  test('given a service that lags for longer than the plan gives it, then the rollout pauses and names why', () => {
    const lagging = [some(20, 'stored'), some(1, 'pending', { ...service, ...offline })];
    expect(stepOf(ready, lagging)).toEqual({ kind: 'stay', until: new Date(second(600).getTime() + 1) });
    expect(stepOf(ready, lagging, second(601))).toMatchObject({
      rollout: { state: 'ready', pause: { code: 'rollout.service-lags' } },
    });
  });

  test('given a version whose predecessor is compromised, then that one is marked so with the activation', () => {
    const set = keySet([keyVersion(1, { state: 'active', compromisedAt: second(5) }), pending(2)]);
    expect(stepOf(ready, [some(3, 'stored')], NOW, set)).toMatchObject({
      versions: [{ version: 2 }, { version: 1, state: 'compromised', retired: false }],
    });
  });
});

describe('after the activation', () => {
  const activated = { state: 'active', activatedAt: second(50) } as const;
  const set = keySet([accepted(1), active(2)]);

  test('given too many devices that do not use it in time, then it pauses', () => {
    expect(stepOf(activated, [some(8, 'active', { old: 'held' }), some(2, 'overdue')], NOW, set)).toMatchObject({
      rollout: { pause: { code: 'rollout.errors-exceeded' } },
    });
    expect(stepOf(activated, [some(9, 'active', { old: 'held' }), some(1, 'overdue')], NOW, set).kind).toBe('stay');
  });

  test('given stragglers for longer than the plan says, then their sign-off is proposed once', () => {
    const tallies = [some(9, 'active', { old: 'held' }), some(1, 'pending', offline)];
    const late = second(50 + 30 * 86_400);
    expect(stepOf(activated, tallies, NOW, set)).toEqual({ kind: 'stay', until: late });
    expect(stepOf(activated, tallies, late, set)).toMatchObject({
      rollout: { stragglersAt: late },
      audit: [{ action: 'rollout.stragglers', code: 'rollout.stragglers' }],
    });
    expect(stepOf({ ...activated, stragglersAt: late }, tallies, late, set)).toEqual(STAY);
    const patient = plan({ stragglers: { action: 'wait', afterMs: 1 } });
    expect(stepOf({ ...activated, plan: patient }, tallies, late, set)).toEqual(STAY);
  });

  test('given a busy device, then the rollout says that it defers', () => {
    expect(holds(activated, [some(1, 'stored', { deferred: true })])).toContain('deferred');
  });

  test('given a trust bundle, then it is complete when nobody is behind, and not before', () => {
    const trust = trustRollout({ state: 'active', activatedAt: second(50), preparedAt: second(0) });
    expect(step(trust, [some(9, 'active'), some(1, 'pending', offline)]).kind).toBe('stay');
    expect(step(trust, [some(9, 'active')])).toMatchObject({ rollout: { state: 'completed', finishedAt: NOW } });
  });

  test('given a trust bundle whose stragglers were signed off, then it is complete without them', () => {
    const trust = trustRollout({ state: 'active', activatedAt: second(50), preparedAt: second(0) });
    const waived = some(1, 'pending', { ...offline, old: 'waived' });
    expect(step(trust, [some(9, 'active'), waived])).toMatchObject({ rollout: { state: 'completed' } });
  });
});

describe('retiring and destroying the old versions', () => {
  const set = keySet([accepted(1), active(2)]);
  const switched = some(10, 'active', { old: 'held' });
  const retiring = { state: 'retiring', activatedAt: second(50) } as const;

  test('given no device uses one, when it is retired, then it is retired at once', () => {
    expect(decideRetire(rollout({ state: 'active' }), set, [switched], KIM)).toMatchObject({
      kind: 'advance',
      rollout: { state: 'retired' },
      versions: [{ version: 1, retired: true, erase: false }],
    });
  });

  test('given devices that use one, when it is retired, then it stays accepted until the last one has switched', () => {
    const behind = [switched, some(3, 'pending', offline)];
    expect(decideRetire(rollout({ state: 'active' }), set, behind, KIM)).toMatchObject({
      rollout: { state: 'retiring' },
      versions: [],
    });
    expect(stepOf(retiring, behind, NOW, set).kind).toBe('stay');
    expect(stepOf(retiring, [switched], NOW, set)).toMatchObject({
      rollout: { state: 'retired' },
      versions: [{ version: 1, retired: true }],
    });
  });

  test('given stragglers that were signed off, then they hold up neither retirement nor destruction (I11)', () => {
    const waived = some(3, 'pending', { ...offline, old: 'waived' });
    expect(stepOf(retiring, [switched, waived], NOW, set)).toMatchObject({ rollout: { state: 'retired' } });
    const gone = keySet([destroyed(1), active(2)]);
    const receipts = some(10, 'old-destroyed', { old: 'gone' });
    expect(stepOf({ state: 'destroying' }, [receipts, waived], NOW, gone)).toMatchObject({
      rollout: { state: 'destroyed', finishedAt: NOW },
    });
  });

  test('given versions before the one it replaced, then they are retired and destroyed with it', () => {
    const three = keySet([accepted(1), accepted(2), active(3)]);
    const third = { fromVersion: accepted(2).version, toVersion: active(3).version };
    expect(stepOf({ ...retiring, ...third }, [switched], NOW, three)).toMatchObject({
      versions: [
        { version: 1, retired: true },
        { version: 2, retired: true },
      ],
    });
  });

  test('given a later rollout that has retired its old versions, then it is retired, too', () => {
    const three = keySet([retired(1), accepted(2), active(3)]);
    expect(stepOf({ state: 'active' }, [switched], NOW, three)).toMatchObject({ rollout: { state: 'retired' } });
  });

  test.each(['approved', 'distributing', 'ready', 'retired', 'destroyed', 'aborted'] as const)(
    'given a rollout that is %s, when it is retired, then that is refused',
    (state) => {
      expect(decideRetire(rollout({ state }), set, [switched], KIM)).toMatchObject({
        kind: 'refuse',
        error: { code: 'rollout.state-refused' },
      });
    },
  );

  test('given a retired version, when it is destroyed, then its bytes go, and receipts are waited for', () => {
    const gone = keySet([retired(1), active(2)]);
    expect(decideDestroy(rollout({ state: 'retired' }), gone, [switched], KIM)).toMatchObject({
      rollout: { state: 'destroying' },
      versions: [{ version: 1, state: 'destroyed', erase: true }],
    });
    const erased = keySet([destroyed(1), active(2)]);
    expect(stepOf({ state: 'destroying' }, [switched], NOW, erased)).toEqual(STAY);
    expect(stepOf({ state: 'destroying' }, [some(10, 'old-destroyed', { old: 'gone' })], NOW, erased)).toMatchObject({
      rollout: { state: 'destroyed' },
    });
  });

  test('given a device that depends on it, when it is destroyed, then that is refused (I11)', () => {
    const gone = keySet([retired(1), active(2)]);
    expect(decideDestroy(rollout({ state: 'retired' }), gone, [switched, some(1, 'pending')], KIM)).toMatchObject({
      kind: 'refuse',
      error: { code: 'rollout.devices-depend' },
    });
  });

  test('given a version that is not retired, when it is destroyed, then that is refused', () => {
    expect(decideDestroy(rollout({ state: 'active' }), set, [switched], KIM)).toMatchObject({
      kind: 'refuse',
      error: { code: 'rollout.state-refused' },
    });
  });
});

describe('a paused rollout', () => {
  const halted = { pause: { at: second(50), by: 'kim', code: 'rollout.halted', reason: 'looks odd' } } as const;

  test.each(['approved', 'distributing', 'ready', 'active', 'retiring'] as const)(
    'given one that is %s, then it takes no step by itself; resumed, it does',
    (state) => {
      const set = state === 'retiring' ? keySet([accepted(1), active(2)]) : TWO_VERSIONS;
      const done = [some(9, state === 'retiring' ? 'active' : 'stored', { old: 'held' })];
      expect(stepOf({ state, ...halted }, done, NOW, set)).toEqual(STAY);
      const resumed = decideResume(rollout({ state, ...halted }), KIM);
      expect(resumed).toMatchObject({ kind: 'advance', rollout: { state, pause: undefined }, due: 'unanswered' });
      if (resumed.kind === 'advance' && state !== 'active')
        expect(step(resumed.rollout, done, NOW, set).kind).toBe('advance');
    },
  );

  test('given a destruction that was begun, then receipts are collected all the same', () => {
    const gone = keySet([destroyed(1), active(2)]);
    const receipts = [some(3, 'old-destroyed', { old: 'gone' })];
    expect(stepOf({ state: 'destroying', ...halted }, receipts, NOW, gone)).toMatchObject({
      rollout: { state: 'destroyed' },
    });
  });

  test('given one that is paused already, or has ended, when it is paused, then that is refused', () => {
    expect(decidePause(rollout(halted), 'again', KIM)).toMatchObject({ kind: 'refuse' });
    expect(decidePause(rollout({ finishedAt: NOW }), 'late', KIM)).toMatchObject({ kind: 'refuse' });
    expect(decidePause(rollout(), 'now', KIM)).toMatchObject({
      rollout: { pause: { by: 'kim', code: 'rollout.halted', reason: 'now' } },
    });
  });

  test('given one that is not paused, when it is resumed, then that is refused', () => {
    expect(decideResume(rollout(), KIM)).toMatchObject({ kind: 'refuse', error: { code: 'rollout.state-refused' } });
  });
});

describe('aborting', () => {
  test.each(['approved', 'distributing', 'ready'] as const)(
    'given a rollout that is %s, then it ends and its version is destroyed wherever it arrived',
    (state) => {
      expect(decideAbort(rollout({ state }), TWO_VERSIONS, 'wrong key', KIM)).toMatchObject({
        rollout: { state: 'aborted', finishedAt: KIM.now },
        versions: [{ version: 2, state: 'destroyed', erase: true }],
      });
    },
  );

  test.each(['active', 'retiring', 'retired', 'destroyed', 'aborted'] as const)(
    'given a rollout that is %s, then it is refused and says what to do',
    (state) => {
      expect(decideAbort(rollout({ state }), TWO_VERSIONS, 'too late', KIM)).toMatchObject({
        kind: 'refuse',
        error: { code: 'rollout.state-refused' },
      });
    },
  );

  test('given a trust bundle, then no key version is touched', () => {
    expect(decideAbort(trustRollout({ state: 'distributing' }), undefined, 'wrong anchor', KIM)).toMatchObject({
      rollout: { state: 'aborted' },
      versions: [],
    });
  });
});
