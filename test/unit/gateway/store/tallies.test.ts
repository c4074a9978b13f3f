/** The triggers that keep counts of targets, under statements that no port has. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openDatabase, openSqliteStore } from '#gateway/store/sqlite/open.ts';
import {
  accepted,
  addKeySet,
  deviceId,
  enrol,
  importDevices,
  proof,
  REALM,
  recordReport,
  rolloutId,
  rotation,
  startRotation,
} from '#test/support/store-fixtures.ts';
import { expectCounted } from '#test/support/tally-oracle.ts';
import { temporaryDirectory } from './directories.ts';

describe('counts of targets', () => {
  it('given rows removed by hand, when targets are counted, then the counts are those of what is left', async () => {
    const path = join(temporaryDirectory(), 'croupier.db');
    const open = () => openSqliteStore({ path, realm: REALM, busyTimeoutMs: 100 });
    const store = await open();
    await importDevices(store, 'a', 'b', 'c');
    await addKeySet(store);
    for (const id of ['a', 'b', 'c'])
      await recordReport(store, await enrol(store, id), 1, accepted({ proofs: [proof(1, 'active')] }));
    await startRotation(store, rotation(1));
    await store.close();
    const sqlite = openDatabase(path, 100);
    sqlite.exec(`delete from device_key_versions where device = 'a'; delete from rollout_targets where device = 'c'`);
    sqlite.close();
    const again = await open();
    await expectCounted(again, 1, 2);
    const left = await again.rolloutTargets(rolloutId(1), { limit: 10 });
    expect(left.map(({ device, old }) => [device, old])).toEqual([
      [deviceId('a'), 'gone'],
      [deviceId('b'), 'in-use'],
    ]);
    await again.close();
  });
});
