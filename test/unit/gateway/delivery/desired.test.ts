import { describe, expect, test } from 'vitest';
import {
  desiredKeyring,
  desiredRenewal,
  desiredTrust,
  isReplacedBy,
  keyringDifference,
  type Exposed,
} from '#gateway/delivery/desired.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import type { RolloutTarget } from '#gateway/ports/store/records.ts';
import {
  accepted,
  active,
  certificate,
  destroyed,
  device,
  held,
  keySet,
  pending,
  retired,
  rollout,
  target,
} from '#test/support/delivery-fixtures.ts';
import {
  keyVersion,
  reEnrolment,
  rolloutRecord,
  second,
  trust,
  trustRollout,
  version,
} from '#test/support/store-fixtures.ts';

const NOW = second(100);
const ALWAYS = { now: NOW, windows: createWindows({}) };
/** Open from 03:00 to 05:00; second 100 is one minute past midnight. */
const BY_NIGHT = {
  now: NOW,
  windows: createWindows({ main: { cron: '0 3 * * *', duration: 7_200_000, timeZone: 'UTC' } }),
};

const exposed = (rollouts: Exposed['rollouts'] = []): Exposed => ({ device: device(), rollouts });
const inRollout = (state: RolloutTarget['state'], over: Parameters<typeof rollout>[0] = {}) => [
  { rollout: rollout(over), target: target(state) },
];
const desired = (
  versions: Parameters<typeof keySet>[0],
  rollouts: Exposed['rollouts'] = [],
  rows: Parameters<typeof desiredKeyring>[1] = [],
  moment: Parameters<typeof desiredKeyring>[3] = ALWAYS,
) => desiredKeyring(keySet(versions), rows, exposed(rollouts), moment);

describe('what a device should hold of a key set', () => {
  test('given one active version, then it is active and accepted', () => {
    expect(desired([active(1)])).toMatchObject({ active: 1, accept: [1], gone: [] });
  });

  test('given a version being distributed to the device, then it is accepted before anybody uses it (I6)', () => {
    expect(desired([active(1), pending(2)], inRollout('pending'))).toMatchObject({
      active: 1,
      accept: [1, 2],
      gone: [],
    });
  });

  test.each(['exempt', 'quarantined'] as const)(
    'given a target that is %s, then the new version stays away from it',
    (state) => {
      expect(desired([active(1), pending(2)], inRollout(state)).accept).toEqual([1]);
    },
  );

  test('given a version that no rollout distributes, then it stays away', () => {
    expect(desired([active(1), pending(2)]).accept).toEqual([1]);
  });

  test('given the overlap after activation, then both versions are accepted', () => {
    expect(desired([accepted(1), active(2)])).toMatchObject({ active: 2, accept: [1, 2], gone: [] });
  });

  test('given a retired version, then it is neither accepted nor to be destroyed', () => {
    expect(desired([retired(1), active(2)])).toMatchObject({ active: 2, accept: [2], gone: [] });
  });

  test('given a destroyed version, then nobody may hold it', () => {
    expect(desired([destroyed(1), active(2)])).toMatchObject({ active: 2, accept: [2], gone: [1] });
  });
});

describe('the difference to what it holds', () => {
  const difference = (
    versions: Parameters<typeof keySet>[0],
    rows: Parameters<typeof keyringDifference>[1],
    rollouts: Exposed['rollouts'] = inRollout('pending'),
  ) => {
    const set = keySet(versions);
    return keyringDifference(set, rows, desiredKeyring(set, rows, exposed(rollouts), ALWAYS));
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

describe('what a rollout holds back', () => {
  const waves = [
    { name: 'canary', share: { by: 'count' as const, count: 1 }, soakMs: 0 },
    { name: 'others', share: { by: 'rest' as const }, soakMs: 0 },
  ];
  const inWaves = { plan: { ...rolloutRecord().plan, waves } };
  const paused = { pause: { at: second(1), by: 'kim', code: 'rollout.halted', reason: 'looks odd' } } as const;

  test('given a target whose wave is not open, then the new version stays away until it is', () => {
    const later = [{ rollout: rollout(inWaves), target: target('pending', { wave: 1 }) }];
    expect(desired([active(1), pending(2)], later).accept).toEqual([1]);
    const opened = [{ rollout: rollout({ ...inWaves, wave: 1 }), target: target('pending', { wave: 1 }) }];
    expect(desired([active(1), pending(2)], opened).accept).toEqual([1, 2]);
  });

  test('given a paused rollout, then nobody new gets the version, and who has it keeps it', () => {
    expect(desired([active(1), pending(2)], inRollout('pending', paused)).accept).toEqual([1]);
    expect(desired([active(1), pending(2)], inRollout('stored', paused), [held(2, 'stored')]).accept).toEqual([1, 2]);
  });

  test('given a site whose window is shut, then the version waits for the window', () => {
    const { accept, opensAt } = desired([active(1), pending(2)], inRollout('pending'), [held(1, 'active')], BY_NIGHT);
    expect(accept).toEqual([1]);
    expect(opensAt?.toISOString().slice(11, 16)).toBe('03:00');
  });

  test('given the activation outside of the window, then the device goes on with the old version until it opens', () => {
    const rows = [held(1, 'active'), held(2, 'stored')];
    const rollouts = inRollout('stored', { state: 'active' });
    expect(desired([accepted(1), active(2)], rollouts, rows, BY_NIGHT)).toMatchObject({ active: 1, accept: [1, 2] });
    expect(desired([accepted(1), active(2)], rollouts, rows)).toMatchObject({ active: 2, opensAt: undefined });
  });

  test('given a device whose version is accepted nowhere any more, then no window keeps the new one from it', () => {
    const rollouts = inRollout('pending', { state: 'retired' });
    expect(desired([retired(1), active(2)], rollouts, [held(1, 'active')], BY_NIGHT)).toMatchObject({
      active: 2,
      accept: [2],
    });
  });

  test('given an exempt device, then it goes on with the old version for as long as that is accepted', () => {
    const rollouts = inRollout('exempt', { state: 'active' });
    expect(desired([accepted(1), active(2)], rollouts, [held(1, 'active')])).toMatchObject({ active: 1, accept: [1] });
    expect(desired([retired(1), active(2)], rollouts, [held(1, 'active')])).toMatchObject({ active: 2, accept: [2] });
  });
});

describe('versions that something happened to', () => {
  const compromised = keyVersion(1, { state: 'compromised', compromisedAt: second(3) });

  test('given a compromised version, then it stays accepted where it is held and is delivered to nobody', () => {
    expect(desired([compromised, active(2)], [], [held(1, 'active')]).accept).toEqual([1, 2]);
    expect(desired([compromised, active(2)], []).accept).toEqual([2]);
  });

  test('given a compromised version that was retired, then it is accepted nowhere', () => {
    const gone = { ...compromised, retiredAt: second(4) };
    expect(desired([gone, active(2)], [], [held(1, 'stored')]).accept).toEqual([2]);
  });

  test('given a version whose bytes the gateway has lost, then it is accepted where it is held and delivered to nobody', () => {
    const lost = keyVersion(2, { state: 'deactivated', wrapped: undefined });
    expect(desired([active(1), lost], [], [held(1, 'stored'), held(2, 'active')]).accept).toEqual([1, 2]);
    expect(desired([active(1), lost]).accept).toEqual([1]);
  });

  test('given a device that has destroyed the active version, then nothing is asked that it cannot do', () => {
    const set = keySet([active(1)]);
    const rows = [held(1, 'destroyed')];
    expect(keyringDifference(set, rows, desiredKeyring(set, rows, exposed(), ALWAYS))).toBeUndefined();
  });
});

describe('a device that is beyond the gateway', () => {
  const lost = (number: number) => keyVersion(number, { state: 'deactivated', wrapped: undefined, kek: 'lost' });

  test('given a version above the active one in use, then the device stays with it', () => {
    expect(desired([active(1), lost(2)], [], [held(1, 'stored'), held(2, 'active')])).toMatchObject({
      active: 2,
      accept: [1, 2],
    });
    expect(desired([active(1), lost(2)], [], [held(1, 'active')])).toMatchObject({ active: 1, accept: [1] });
  });

  test('given it has retired or destroyed what the gateway takes for active, then that is not brought back', () => {
    for (const state of ['retired', 'destroyed'] as const)
      expect(desired([active(1), lost(2)], [], [held(1, state), held(2, 'active')])).toMatchObject({
        active: 2,
        accept: [2],
      });
  });

  test('given a rollout of a version below the one in use, then it is not delivered; one above it is', () => {
    const rows = [held(2, 'active')];
    const below = inRollout('pending', { toVersion: version(2) });
    expect(desired([active(1), pending(2), lost(3)], below, [held(3, 'active')]).accept).toEqual([3]);
    const above = inRollout('pending', { toVersion: version(1_002) });
    expect(desired([active(1), lost(2), pending(1_002)], above, rows)).toMatchObject({ active: 2, accept: [2, 1_002] });
  });

  test('given the rotation that follows is active, then the device goes on to it', () => {
    expect(
      desired([accepted(1), lost(2), active(1_002)], [], [held(2, 'active'), held(1_002, 'stored')]),
    ).toMatchObject({
      active: 1_002,
      accept: [2, 1_002],
    });
  });

  test('given nothing that it could use, then no version is named that it cannot accept', () => {
    const set = keySet([active(1), pending(2)]);
    const wanted = desiredKeyring(set, [held(1, 'destroyed')], exposed(inRollout('pending')), ALWAYS);
    expect(wanted).toMatchObject({ active: null, accept: [2] });
  });
});

describe('the trust bundle of a device', () => {
  const of = (rollouts: Exposed['rollouts'], released = 1) =>
    desiredTrust({ ...exposed(rollouts), trustReleased: trust(released) }, ALWAYS).version;

  test('given no rollout, then it is the released one', () => {
    expect(of([], 3)).toBe(3);
  });

  test('given a bundle on its way to the device, then it is that one; another device keeps the released one', () => {
    expect(of([{ rollout: trustRollout(), target: target('pending') }])).toBe(2);
    expect(of([{ rollout: trustRollout(), target: target('pending', { wave: 1 }) }])).toBe(1);
  });
});

describe('the certificate of a device', () => {
  const campaign = reEnrolment({
    campaign: { reason: 'ca-rollover', selector: {}, issuer: 'device-ca-1', before: second(50) },
  });
  const renewal = (state: RolloutTarget['state'], over: Partial<RolloutTarget> = {}, of = certificate()) =>
    desiredRenewal(
      { device: device(), identity: of, rollouts: [{ rollout: campaign, target: target(state, over) }] },
      ALWAYS,
    );

  test('given a campaign that replaces it, then the device is asked to renew', () => {
    expect(renewal('pending').renew).toMatchObject({ reason: 'ca-rollover' });
  });

  test('given a certificate issued since, or by another CA, then it is not', () => {
    expect(renewal('pending', {}, certificate({ createdAt: second(60) })).renew).toBeUndefined();
    expect(renewal('pending', {}, certificate({ issuer: 'device-ca-2' })).renew).toBeUndefined();
    expect(isReplacedBy(campaign.campaign, certificate())).toBe(true);
  });

  test('given a device that has agreed to renew, then it is asked again only when its time is over', () => {
    expect(renewal('stored', { offeredAt: second(90) })).toMatchObject({ renew: undefined, opensAt: second(690) });
    expect(renewal('stored', { offeredAt: second(-900) }).renew).toBeDefined();
  });

  test('given a certificate near its end, then the device is reminded without any campaign', () => {
    const old = certificate({ notBefore: second(0), notAfter: second(105) });
    expect(desiredRenewal({ device: device(), identity: old, rollouts: [] }, ALWAYS).renew).toMatchObject({
      reason: 'expiring',
    });
  });
});
