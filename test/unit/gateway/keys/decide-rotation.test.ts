import { describe, expect, test } from 'vitest';
import { decideRotation, nextVersion } from '#gateway/keys/decide-rotation.ts';
import { accepted, active, destroyed, device, keySet, pending, rollout } from '#test/support/delivery-fixtures.ts';
import { rolloutId, second, version } from '#test/support/store-fixtures.ts';

const request = (number: number) => ({
  rollout: rolloutId(9),
  version: version(number),
  wrapped: new Uint8Array([1]),
  kek: 'kek-1',
  kcv: '0011223344',
  actor: { type: 'operator', id: 'kim' } as const,
  approval: undefined,
  at: second(10),
});

describe('starting a rotation', () => {
  test('given an active version, then the next one begins to be distributed to enrolled devices', () => {
    const outcome = decideRotation('wallet-kek', keySet([active(1)]), [], request(2));
    expect(outcome).toMatchObject({
      kind: 'start',
      version: { version: 2, state: 'pre-activation' },
      rollout: { fromVersion: 1, toVersion: 2, state: 'distributing' },
    });
    if (outcome.kind !== 'start') return;
    expect(outcome.target(device())).toEqual({ wave: 0, state: 'pending' });
    expect(outcome.target(device({ state: { kind: 'quarantined', code: 'report.forked' } }))).toEqual({
      wave: 0,
      state: 'quarantined',
    });
    expect(outcome.target(device({ state: { kind: 'revoked' } }))).toBeUndefined();
    expect(outcome.target(device({ state: { kind: 'registered' } }))).toBeUndefined();
  });

  test('given an earlier rotation in its overlap, then a further one may begin', () => {
    expect(
      decideRotation('wallet-kek', keySet([accepted(1), active(2)]), [rollout({ state: 'active' })], request(3)),
    ).toMatchObject({ kind: 'start', rollout: { fromVersion: 2 } });
  });

  test.each(['distributing', 'ready'] as const)('given a rotation that is %s, then another is refused', (state) => {
    expect(
      decideRotation('wallet-kek', keySet([active(1), pending(2)]), [rollout({ state })], request(3)),
    ).toMatchObject({ kind: 'refuse', error: { code: 'keyset.rotation-under-way' } });
  });

  test('given no such key set, then it is refused', () => {
    expect(decideRotation('wallet-kek', undefined, [], request(2))).toMatchObject({
      kind: 'refuse',
      error: { code: 'keyset.not-found' },
    });
  });

  test('given nothing active to rotate from, then it is refused', () => {
    expect(decideRotation('wallet-kek', keySet([destroyed(1)]), [], request(2))).toMatchObject({
      kind: 'refuse',
      error: { code: 'keyset.state-refused' },
    });
  });

  test('given a key wrapped for a number that is taken meanwhile, then it is refused', () => {
    expect(decideRotation('wallet-kek', keySet([accepted(1), active(2)]), [], request(2))).toMatchObject({
      kind: 'refuse',
      error: { code: 'keyset.rotation-under-way' },
    });
  });

  test('given destroyed versions, then their numbers are not used again', () => {
    expect(nextVersion(keySet([destroyed(1), active(2), destroyed(3)]))).toBe(4);
  });
});
