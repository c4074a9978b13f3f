import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { verifyChain } from '#gateway/audit/chain.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { auditFault, storeFault } from '#gateway/store/sqlite/faults.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import { errorCode } from '#schema/errors.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { event, importDevices, inventoryRow, REALM, second } from '#test/support/store-fixtures.ts';
import { temporaryDirectory } from './directories.ts';

async function opened(): Promise<{ path: string; sqlite: Database.Database; store: Store }> {
  const path = join(temporaryDirectory(), 'croupier.db');
  const sqlite = openDatabase(path, 50);
  return { path, sqlite, store: await storeOn(sqlite, REALM) };
}

const verify = async (store: Store): Promise<void> => {
  expect(verifyChain(await store.auditRecords(0, 100_000))).toEqual(await store.auditHead());
};

const large = (from: number) =>
  Array.from({ length: 500 }, (_, index) =>
    inventoryRow(`egm-${from + index}`, { labels: { filler: 'x'.repeat(100) } }),
  );

describe('a database that is locked by another process', () => {
  it('given its lock, when something is written, then the store is unavailable, reads go on, and writes do after it', async () => {
    const { path, store } = await opened();
    await importDevices(store, 'egm-1');
    const other = new Database(path);
    other.exec('begin immediate');
    const error = await expectRefusal('store.unavailable', () => importDevices(store, 'egm-2'));
    expect(error.message).toContain('locked');
    await expectRefusal('store.unavailable', () =>
      store.takeDue(10, second(1), () => expect.fail('nothing is decided without the lock')),
    );
    expect((await store.deviceCounts()).total).toBe(1);
    other.exec('rollback');
    other.close();
    await importDevices(store, 'egm-2');
    expect((await store.deviceCounts()).total).toBe(2);
    await verify(store);
    await store.close();
  });
});

describe('a disk that is full', () => {
  it('given no room, when much is written, then nothing of it is kept, small writes beside it are, and room heals it', async () => {
    const { sqlite, store } = await opened();
    await importDevices(store, 'egm-1');
    const pages = Number(sqlite.pragma('page_count', { simple: true }));
    sqlite.pragma(`max_page_count = ${pages + 4}`);
    const crowd = store.importDevices(large(100), second(1), event('device.import'));
    const [full, beside] = await Promise.allSettled([crowd, store.appendAudit([event('beside')], second(1))]);
    expect(full).toMatchObject({
      status: 'rejected',
      reason: { code: 'store.unavailable', message: expect.stringContaining('full') },
    });
    expect(beside.status).toBe('fulfilled');
    expect((await store.deviceCounts()).total).toBe(1);
    sqlite.pragma('max_page_count = 1000000');
    await store.importDevices(large(100), second(2), event('device.import'));
    expect((await store.deviceCounts()).total).toBe(501);
    await verify(store);
    await store.close();
  });

  it('given no room for the audit record alone, when something is changed, then it is not', async () => {
    const { sqlite, store } = await opened();
    await importDevices(store, 'egm-1');
    sqlite.exec(
      "create temp trigger no_room before insert on main.audit_records begin select raise(abort, 'no room'); end",
    );
    await expectRefusal('internal.unexpected', () => importDevices(store, 'egm-2'));
    expect((await store.deviceCounts()).total).toBe(1);
    sqlite.exec('drop trigger no_room');
    await importDevices(store, 'egm-2');
    await verify(store);
    await store.close();
  });

  it('given a connection that may only read, when something is written, then the store is unavailable until it may', async () => {
    const { sqlite, store } = await opened();
    sqlite.pragma('query_only = ON');
    const error = await expectRefusal('store.unavailable', () => importDevices(store, 'egm-1'));
    expect(error.message).toContain('read-only');
    sqlite.pragma('query_only = OFF');
    await importDevices(store, 'egm-1');
    await store.close();
  });
});

describe('what SQLite says', () => {
  const cases = [
    ['SQLITE_BUSY_SNAPSHOT', 'store.unavailable', 'audit.unavailable'],
    ['SQLITE_FULL', 'store.unavailable', 'audit.unavailable'],
    ['SQLITE_IOERR_FSYNC', 'store.unavailable', 'audit.unavailable'],
    ['SQLITE_READONLY_DBMOVED', 'store.unavailable', 'audit.unavailable'],
    ['SQLITE_CORRUPT_INDEX', 'store.corrupt', 'store.corrupt'],
    ['SQLITE_NOTADB', 'store.corrupt', 'store.corrupt'],
    ['SQLITE_CONSTRAINT_UNIQUE', 'internal.unexpected', 'internal.unexpected'],
  ] as const;
  it.each(cases)('given %s, when it is told, then it is %s, and %s for an audit record', (code, store, audit) => {
    const error = new Database.SqliteError('told', code);
    expect([errorCode(storeFault(error)), errorCode(auditFault(error))]).toEqual([store, audit]);
  });

  it('given an error that is not of SQLite, when it passes, then it is the same', () => {
    const error = new TypeError('ours');
    expect(storeFault(error)).toBe(error);
  });
});
