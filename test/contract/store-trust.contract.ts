import { expect, it } from 'vitest';
import { expectRefusal } from '#test/support/expect-error.ts';
import { deviceId, event, importDevices, second, sha256, trust, trustBundle } from '#test/support/store-fixtures.ts';
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

  it('given an authority, when it is put again, then the new one takes its place', async () => {
    const { store } = current();
    const authority = { role: 'device-ca', keyLabel: 'device-ca-1', certificate: Buffer.from('certificate') } as const;
    expect(await store.authority('device-ca')).toBeUndefined();
    await store.putAuthority(authority, second(1), event('authority.put'));
    await store.putAuthority({ ...authority, keyLabel: 'device-ca-2' }, second(2), event('authority.put'));
    await store.putAuthority({ ...authority, role: 'root' }, second(2), event('authority.put'));
    expect(await store.authority('device-ca')).toEqual({ ...authority, keyLabel: 'device-ca-2' });
    expect((await store.authorities()).map(({ role }) => role)).toEqual(['device-ca', 'root']);
  });
}
