/** What has to be true of a floor at rest, whatever happened to it: D§11, device by device. */
import { expect } from 'vitest';
import type { DeviceKeyVersion } from '#gateway/ports/store/records.ts';
import type { Casino } from './casino.ts';

const inWords = ({ keySet, version, state }: Pick<DeviceKeyVersion, 'keySet' | 'version' | 'state'>): string =>
  `${keySet} ${version} ${state}`;

/**
 * Waits until the devices that are on have converged, then checks that what the gateway has on record of each is what the
 * device itself holds, that no device uses or holds what it must not, that sequence numbers went upwards, and that the
 * audit trail is one chain (I3, I5, I6, I7).
 */
export async function floorAgrees(casino: Casino): Promise<void> {
  await casino.untilConverged();
  const keySets = new Map((await casino.store.keySets()).map((keySet) => [keySet.name, keySet]));
  for (const device of casino.devices.values()) {
    if (!device.isOn) continue;
    const { sync, versions } = await casino.detail(device.id);
    const own = device.run.agent.view
      .keyrings()
      .flatMap(({ keySet, versions: held }) => held.map(({ version, state }) => ({ keySet, version, state })));
    const known = versions.filter(({ state }) => state !== 'destroyed' && state !== 'offered');
    expect(known.map(inWords).sort(), `${device.id}: record and device`).toEqual(own.map(inWords).sort());
    expect(sync.trustVersion, `${device.id}: trust`).toBe(device.trustVersion);
    for (const { keySet, version, state } of own) {
      const record = keySets.get(keySet)?.versions.find((entry) => entry.version === version);
      expect(record?.state, `${device.id} holds ${keySet} ${version}`).not.toBe('destroyed');
      if (state === 'active')
        expect(record?.activatedAt, `${device.id} uses ${keySet} ${version}`).toBeInstanceOf(Date);
    }
    const seqs = device.run.all('update-applied').map(({ seq }) => seq);
    expect(
      [...seqs].sort((a, b) => a - b),
      `${device.id}: sequence numbers`,
    ).toEqual(seqs);
    expect(new Set(seqs).size, `${device.id}: no update twice`).toBe(seqs.length);
  }
  await casino.auditRecords();
}
