import { describe, expect, test } from 'vitest';
import { desiredKeyring, keyringDifference } from '#gateway/delivery/desired.ts';
import {
  accepted,
  active,
  destroyed,
  held,
  keySet,
  pending,
  retired,
  rollout,
  target,
} from '#test/support/delivery-fixtures.ts';

const inRollout = (state: Parameters<typeof target>[0]) => [{ rollout: rollout(), target: target(state) }];

describe('what a device should hold of a key set', () => {
  test('given one active version, then it is active and accepted', () => {
    expect(desiredKeyring(keySet([active(1)]), [])).toEqual({ active: 1, accept: [1], gone: [] });
  });

  test('given a version being distributed to the device, then it is accepted before anybody uses it (I6)', () => {
    expect(desiredKeyring(keySet([active(1), pending(2)]), inRollout('pending'))).toEqual({
      active: 1,
      accept: [1, 2],
      gone: [],
    });
  });

  test.each(['exempt', 'quarantined'] as const)(
    'given a target that is %s, then the new version stays away from it',
    (state) => {
      expect(desiredKeyring(keySet([active(1), pending(2)]), inRollout(state)).accept).toEqual([1]);
    },
  );

  test('given a version that no rollout distributes, then it stays away', () => {
    expect(desiredKeyring(keySet([active(1), pending(2)]), []).accept).toEqual([1]);
  });

  test('given the overlap after activation, then both versions are accepted', () => {
    expect(desiredKeyring(keySet([accepted(1), active(2)]), [])).toEqual({ active: 2, accept: [1, 2], gone: [] });
  });

  test('given a retired version, then it is neither accepted nor to be destroyed', () => {
    expect(desiredKeyring(keySet([retired(1), active(2)]), [])).toEqual({ active: 2, accept: [2], gone: [] });
  });

  test('given a destroyed version, then nobody may hold it', () => {
    expect(desiredKeyring(keySet([destroyed(1), active(2)]), [])).toEqual({ active: 2, accept: [2], gone: [1] });
  });
});

describe('the difference to what it holds', () => {
  const difference = (
    versions: Parameters<typeof keySet>[0],
    rows: Parameters<typeof keyringDifference>[1],
    rollouts = inRollout('pending'),
  ) => {
    const set = keySet(versions);
    return keyringDifference(set, rows, desiredKeyring(set, rollouts));
  };

  test('given a device that holds just that, then there is none', () => {
    expect(difference([active(1)], [held(1, 'active')])).toBeUndefined();
  });

  test('given a new device, then the version is delivered and activated', () => {
    expect(difference([active(1)], [])).toMatchObject({ active: 1, accept: [1], deliver: [1], destroy: [] });
  });

  test('given a version that was offered but never proved, then it is delivered again', () => {
    expect(difference([active(1), pending(2)], [held(1, 'active'), held(2, 'offered')])).toMatchObject({
      deliver: [2],
    });
  });

  test('given a stored version that became active, then only the switch is told', () => {
    expect(difference([accepted(1), active(2)], [held(1, 'active'), held(2, 'stored')])).toMatchObject({
      active: 2,
      deliver: [],
    });
  });

  test('given five versions slept through, then one keyring with the present ones comes (D§1.2)', () => {
    const set = [destroyed(1), destroyed(2), retired(3), accepted(4), active(5)];
    expect(difference(set, [held(1, 'active')])).toMatchObject({
      active: 5,
      accept: [4, 5],
      deliver: [4, 5],
      destroy: [1],
    });
  });

  test('given a retired version still accepted by the device, then the keyring is told', () => {
    expect(difference([retired(1), active(2)], [held(1, 'stored'), held(2, 'active')])).toMatchObject({
      accept: [2],
      deliver: [],
    });
  });

  test('given a destroyed version whose receipt came, then nothing is left to say', () => {
    expect(difference([destroyed(1), active(2)], [held(1, 'destroyed'), held(2, 'active')])).toBeUndefined();
  });

  test('given a destroyed version, then it is never delivered again (I5)', () => {
    expect(difference([destroyed(1), active(2)], [held(2, 'active')])).toBeUndefined();
  });
});
