import { describe, expect, test } from 'vitest';
import { decideRotation, nextVersion, type RotationRequest } from '#gateway/keys/decide-rotation.ts';
import type { RolloutContext } from '#gateway/ports/store/rollouts.ts';
import { accepted, active, destroyed, keySet, pending, rollout } from '#test/support/delivery-fixtures.ts';
import { rolloutId, rolloutRecord, second, sha256, trust, version, WALLET } from '#test/support/store-fixtures.ts';

const request = (number: number, over: Partial<RotationRequest> = {}): RotationRequest => ({
  rollout: rolloutId(9),
  version: version(number),
  wrapped: new Uint8Array([1]),
  kek: 'kek-1',
  kcv: '0011223344',
  plan: rolloutRecord().plan,
  planSha256: sha256('plan'),
  startAt: second(20),
  supersede: false,
  actor: { type: 'operator', id: 'kim' },
  approval: undefined,
  at: second(10),
  ...over,
});

const rotate = (
  versions: Parameters<typeof keySet>[0] | undefined,
  open: RolloutContext['open'],
  of: RotationRequest,
) =>
  decideRotation(
    WALLET,
    { keySet: versions === undefined ? undefined : keySet(versions), open, trustLatest: trust(1) },
    of,
  );

describe('starting a rotation', () => {
  test('given an active version, then the next one is approved by its plan, and nothing is sent yet', () => {
    expect(rotate([active(1)], [], request(2))).toMatchObject({
      kind: 'start',
      version: { version: 2, state: 'pre-activation' },
      rollout: {
        fromVersion: 1,
        toVersion: 2,
        state: 'approved',
        preparedAt: undefined,
        startAt: second(20),
        planSha256: sha256('plan'),
      },
      versions: [],
      others: [],
      audit: [{ action: 'keyset.rotate', details: { planSha256: sha256('plan') } }],
    });
  });

  test('given an earlier rotation in its overlap, then a further one may begin', () => {
    const outcome = rotate([accepted(1), active(2)], [rollout({ state: 'active' })], request(3));
    expect(outcome).toMatchObject({ kind: 'start', rollout: { fromVersion: 2 }, others: [] });
  });

  test.each(['approved', 'distributing', 'ready'] as const)(
    'given a rotation that is %s, then another is refused, unless it supersedes that one',
    (state) => {
      const versions = [active(1), pending(2)];
      expect(rotate(versions, [rollout({ state })], request(3))).toMatchObject({
        kind: 'refuse',
        error: { code: 'keyset.rotation-under-way' },
      });
      expect(rotate(versions, [rollout({ state })], request(3, { supersede: true }))).toMatchObject({
        kind: 'start',
        rollout: { fromVersion: 1, toVersion: 3 },
        versions: [{ version: 2, state: 'destroyed', erase: true }],
        others: [{ state: 'superseded', finishedAt: second(10) }],
        audit: [{ action: 'keyset.rotate' }, { action: 'rollout.superseded' }],
      });
    },
  );

  test('given no such key set, then it is refused', () => {
    expect(rotate(undefined, [], request(2))).toMatchObject({ kind: 'refuse', error: { code: 'keyset.not-found' } });
  });

  test('given nothing active to rotate from, then it is refused', () => {
    expect(rotate([destroyed(1)], [], request(2))).toMatchObject({
      kind: 'refuse',
      error: { code: 'keyset.state-refused' },
    });
  });

  test('given a key wrapped for a number that is taken meanwhile, then it is refused', () => {
    expect(rotate([accepted(1), active(2)], [], request(2))).toMatchObject({
      kind: 'refuse',
      error: { code: 'keyset.rotation-under-way' },
    });
  });

  test('given destroyed versions, then their numbers are not used again', () => {
    expect(nextVersion(keySet([destroyed(1), active(2), destroyed(3)]))).toBe(4);
  });
});

describe('the successor of a compromised version', () => {
  const compromised = (number: number) => ({ compromised: { version: version(number), reason: 'seen in a log' } });

  test('given the active version, then it stays in use until the successor is active, marked as compromised', () => {
    expect(rotate([active(1)], [], request(2, { supersede: true, ...compromised(1) }))).toMatchObject({
      kind: 'start',
      versions: [{ version: 1, state: 'active', compromised: true, erase: false }],
      audit: [{ action: 'keyset.compromise', code: 'keyset.compromised' }],
    });
  });

  test('given a version on its way, then its rollout ends as compromised and its bytes are erased', () => {
    const outcome = rotate([active(1), pending(2)], [rollout()], request(3, { supersede: true, ...compromised(2) }));
    expect(outcome).toMatchObject({
      rollout: { fromVersion: 1, toVersion: 3 },
      versions: [{ version: 2, state: 'compromised', retired: true, erase: true }],
      others: [{ state: 'compromised' }],
    });
  });

  test('given the version of a rollout in its overlap, then that rollout ends as compromised', () => {
    expect(
      rotate(
        [accepted(1), active(2)],
        [rollout({ state: 'active' })],
        request(3, { supersede: true, ...compromised(2) }),
      ),
    ).toMatchObject({ rollout: { fromVersion: 2, toVersion: 3 }, others: [{ state: 'compromised' }] });
  });

  test('given a version that is accepted still, then it is compromised at once and used for nothing new', () => {
    expect(rotate([accepted(1), active(2)], [], request(3, { supersede: true, ...compromised(1) }))).toMatchObject({
      versions: [{ version: 1, state: 'compromised', retired: false, erase: false }],
    });
  });
});
