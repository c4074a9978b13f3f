import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { REALM, second } from '#test/support/store-fixtures.ts';
import { describeStore } from './store.contract.ts';

describeStore('SQLite', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'croupier-store-'));
  const open = () =>
    openSqliteStore({
      path: join(directory, 'croupier.db'),
      realm: REALM,
      clock: new ManualClock(second(50)),
      busyTimeoutMs: 1_000,
    });
  let store = await open();
  return {
    get store() {
      return store;
    },
    reopen: async () => {
      await store.close();
      store = await open();
      return store;
    },
    stop: async () => {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});
