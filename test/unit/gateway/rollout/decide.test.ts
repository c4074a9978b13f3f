import { describe, expect, test } from 'vitest';
import { activationHold, decideDestroy, decideProgress, decideRetire } from '#gateway/rollout/decide.ts';
import type { RolloutProgress } from '#gateway/ports/store/keys.ts';
import type { RolloutState } from '#gateway/ports/store/records.ts';
import { active, keySet, pending, rollout } from '#test/support/delivery-fixtures.ts';

const KIM = { type: 'operator', id: 'kim' } as const;

const progress = (over: Partial<RolloutProgress> = {}): RolloutProgress => ({
  byState: { stored: 10 },
  total: 12,
  reachableUnstored: 0,
  servicesUnstored: 0,
  offlineBehind: 2,
  oldInUse: 0,
  oldHeld: 0,
  ...over,
});

const step = (state: RolloutState, over: Partial<RolloutProgress> = {}) =>
  decideProgress(rollout({ state }), keySet([active(1), pending(2)]), progress(over));

describe('activation waits for what was measured', () => {
  test('given all reachable targets have stored it, then it is ready, whoever is offline', () => {
    expect(step('distributing')).toMatchObject({ kind: 'advance', state: 'ready', versions: [] });
  });

  test.each<[string, Partial<RolloutProgress>]>([
    ['a connected device lacks it', { reachableUnstored: 1 }],
    ['a service lacks it, even an offline one', { servicesUnstored: 1 }],
    ['nobody has proved to have it', { byState: { pending: 12 } }],
  ])('given %s, then it stays', (_, over) => {
    expect(step('distributing', over)).toEqual({ kind: 'stay' });
    expect(step('ready', over), 'what held before it was ready holds after').toEqual({ kind: 'stay' });
    expect(activationHold(progress(over))).toBeDefined();
  });

  test('given a ready rollout, then the new version becomes active and the old one deactivated together', () => {
    expect(step('ready')).toMatchObject({
      state: 'active',
      versions: [
        { version: 2, state: 'active' },
        { version: 1, state: 'deactivated', retired: false, erase: false },
      ],
    });
  });
});

describe('retiring and destroying the old version', () => {
  test('given no device uses it, when it is retired, then it is retired at once', () => {
    expect(decideRetire(rollout({ state: 'active' }), progress(), KIM)).toMatchObject({
      kind: 'advance',
      state: 'retired',
      versions: [{ version: 1, retired: true, erase: false }],
    });
  });

  test('given devices that use it, when it is retired, then it stays accepted until the last one has switched', () => {
    expect(decideRetire(rollout({ state: 'active' }), progress({ oldInUse: 3 }), KIM)).toMatchObject({
      state: 'retiring',
      versions: [],
    });
    expect(step('retiring', { oldInUse: 1 })).toEqual({ kind: 'stay' });
    expect(step('retiring')).toMatchObject({ state: 'retired' });
  });

  test.each(['distributing', 'ready', 'retired', 'destroyed'] as const)(
    'given a rollout that is %s, when it is retired, then that is refused',
    (state) => {
      expect(decideRetire(rollout({ state }), progress(), KIM)).toMatchObject({
        kind: 'refuse',
        error: { code: 'rollout.state-refused' },
      });
    },
  );

  test('given a retired version, when it is destroyed, then its bytes go, and receipts are waited for', () => {
    expect(decideDestroy(rollout({ state: 'retired' }), progress({ oldHeld: 10 }), KIM)).toMatchObject({
      state: 'destroying',
      versions: [{ version: 1, state: 'destroyed', erase: true }],
    });
    expect(step('destroying', { oldHeld: 1 })).toEqual({ kind: 'stay' });
    expect(step('destroying')).toMatchObject({ state: 'destroyed', finished: true });
  });

  test('given a device that depends on it, when it is destroyed, then that is refused (I11)', () => {
    expect(decideDestroy(rollout({ state: 'retired' }), progress({ oldInUse: 1 }), KIM)).toMatchObject({
      kind: 'refuse',
      error: { code: 'rollout.devices-depend' },
    });
  });

  test('given a version that is not retired, when it is destroyed, then that is refused', () => {
    expect(decideDestroy(rollout({ state: 'active' }), progress(), KIM)).toMatchObject({
      kind: 'refuse',
      error: { code: 'rollout.state-refused' },
    });
  });
});
