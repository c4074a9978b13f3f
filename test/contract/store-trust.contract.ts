import { expect, it } from 'vitest';
import { expectRefusal } from '#test/support/expect-error.ts';
import type { AuthorityRecord, AuthorityState } from '#gateway/ports/store/records.ts';
import {
  accepted,
  connect,
  deviceId,
  enrol,
  event,
  importDevices,
  intent,
  issue,
  refusal,
  report,
  second,
  sha256,
  trust,
  trustBundle,
  verified,
} from '#test/support/store-fixtures.ts';
import { auditedActions, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

export function trustContract(current: CurrentStore): void {
  it('given trust bundles, when each follows the one before, then the walk from any of them is there', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    expect(await store.latestTrustBundle()).toBeUndefined();
    let previous = null;
    for (const number of [1, 2, 3]) {
      const bundle = trustBundle(number, previous);
      await store.appendTrustBundle(bundle, second(number), event('trust.publish'));
      previous = bundle.sha256;
    }
    expect((await store.latestTrustBundle())?.version).toBe(3);
    expect(await store.trustBundle(trust(2))).toEqual(trustBundle(2, sha256('bundle 1')));
    expect(await store.trustBundle(trust(4))).toBeUndefined();
    expect((await store.trustLinks(trust(0), 2)).map(({ version }) => version)).toEqual([1, 2]);
    expect((await store.trustLinks(trust(2), 10)).map(({ version }) => version)).toEqual([3]);
    expect((await store.device(deviceId('egm-1')))?.sync.dueAt).toEqual(second(1));
  });

  it('given devices that report later bundles, when it is asked who is ahead, then the furthest enrolled one is named', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2', 'egm-3');
    for (const [id, held] of [
      ['egm-1', 4],
      ['egm-2', 6],
      ['egm-3', 9],
    ] as const) {
      const certificate = await enrol(store, id);
      const message = report(id, 1, { trustVersion: trust(held) });
      await store.recordReports([verified(message, certificate)], () => accepted());
    }
    const contained = { kind: 'quarantined', code: 'report.forked' } as const;
    const change = {
      kind: 'change',
      state: contained,
      revokeCertificates: undefined,
      resetHistory: false,
      audit: [],
    } as const;
    await store.decideDevice(deviceId('egm-3'), second(9), () => change);
    expect(await store.devicesAhead(trust(3))).toEqual({ devices: 2, first: 'egm-2', highest: 6 });
    expect(await store.devicesAhead(trust(5))).toEqual({ devices: 1, first: 'egm-2', highest: 6 });
    expect(await store.devicesAhead(trust(6)), 'one that is contained blocks nothing').toBeUndefined();
  });

  it('given a trust bundle, when one that forks, skips or repeats is appended, then it is refused; the next link is not', async () => {
    const { store } = current();
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    const [good, other] = [sha256('bundle 1'), sha256('another history')];
    const mislabelled = { ...trustBundle(3, good), version: trust(2) };
    for (const bundle of [
      trustBundle(2, other),
      trustBundle(2, null),
      trustBundle(3, good),
      trustBundle(1, null),
      mislabelled,
    ]) {
      await expectRefusal('trust.link-forked', () =>
        store.appendTrustBundle(bundle, second(2), event('trust.publish')),
      );
    }
    await expectRefusal('internal.unexpected', () =>
      store.appendTrustBundle(trustBundle(2, good), second(2), UNWRITABLE),
    );
    expect(await auditedActions(store)).toEqual(['trust.publish']);
    await store.appendTrustBundle(trustBundle(2, good), second(2), event('trust.publish'));
    expect((await store.latestTrustBundle())?.version).toBe(2);
  });

  it('given authorities, when they are decided on, then what changes is kept, and the current one is the one that signs', async () => {
    const { store } = current();
    const made = (keyLabel: string, state: AuthorityState, at: number): AuthorityRecord => ({
      role: 'device-ca',
      keyLabel,
      state,
      certificate: state === 'prepared' ? undefined : Buffer.from(`certificate of ${keyLabel}`),
      createdAt: second(at),
      changedAt: second(at),
    });
    const put = (...records: readonly AuthorityRecord[]) =>
      store.decideAuthorities(second(1), () => ({ kind: 'change', put: records, audit: [event('authority.put')] }));
    expect(await store.authority('device-ca')).toBeUndefined();
    await put(made('device-ca-1', 'current', 1), made('device-ca-2', 'prepared', 2));
    expect(await store.authority('device-ca')).toEqual(made('device-ca-1', 'current', 1));
    const root = { ...made('root-1', 'current', 1), role: 'root' } as const;
    await put(made('device-ca-1', 'previous', 1), made('device-ca-2', 'current', 2), root);
    expect(await store.authority('device-ca')).toEqual(made('device-ca-2', 'current', 2));
    const all = [made('device-ca-1', 'previous', 1), made('device-ca-2', 'current', 2), root];
    expect(await store.authorities()).toEqual(all);
    const refused = await store.decideAuthorities(second(3), ({ records, releasedBundle }) => {
      expect([records, releasedBundle]).toEqual([all, undefined]);
      return refusal('rollout.state-refused');
    });
    expect(refused.kind).toBe('refuse');
    await expectRefusal('internal.unexpected', () =>
      store.decideAuthorities(second(3), () => ({ kind: 'change', put: [made('x', 'next', 3)], audit: [UNWRITABLE] })),
    );
    expect(await store.authorities()).toEqual(all);
    expect(await auditedActions(store)).toEqual(['authority.put', 'authority.put', 'test.refuse']);
  });

  it('given devices under an authority, when they are counted, then those that use it, and those behind a bundle, are told', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b', 'c', 'd');
    const reporting = await enrol(store, 'a');
    await enrol(store, 'b');
    await issue(store, intent('c', 1, { issuer: 'device-ca-2' }));
    await connect(store, 'a', 'b');
    const ahead = report('a', 1, { trustVersion: trust(2) });
    await store.recordReports([verified(ahead, reporting)], () => accepted());
    expect([await store.devicesUnder('device-ca'), await store.devicesUnder('device-ca-2')]).toEqual([2, 1]);
    expect(await store.devicesUnder('nobody')).toBe(0);
    expect(await store.devicesBehind(trust(2))).toEqual({ connected: 1, away: 1 });
    expect(await store.devicesBehind(trust(3))).toEqual({ connected: 2, away: 1 });
    await store.decideAuthorities(second(9), ({ devicesUnder, devicesBehind }) => {
      expect([devicesUnder('device-ca'), devicesBehind(trust(2))]).toEqual([2, { connected: 1, away: 1 }]);
      return refusal('rollout.state-refused');
    });
  });
}
