import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { openDatabase, openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { Realm } from '#schema/ids.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  addKeySet,
  event,
  importDevices,
  moveRollout,
  REALM,
  rotation,
  second,
  startRotation,
  version,
} from '#test/support/store-fixtures.ts';
import { temporaryDirectory } from './directories.ts';

const open = (path: string, realm = REALM) => openSqliteStore({ path, realm, busyTimeoutMs: 100 });

/** A database with something in it, closed. */
async function written(): Promise<string> {
  const path = join(temporaryDirectory(), 'data', 'croupier.db');
  const store = await open(path);
  await importDevices(store, ...Array.from({ length: 200 }, (_, index) => `egm-${index}`));
  await store.close();
  return path;
}

const change = (path: string, statement: string): void => {
  const raw = new Database(path);
  raw.exec(statement);
  raw.close();
};

describe('opening the database', () => {
  it('given no file, when it is opened, then it is made for its owner alone, and so are its log files', async () => {
    const path = join(temporaryDirectory(), 'data', 'croupier.db');
    const store = await open(path);
    await store.appendAudit([event('gateway.start')], second(0));
    const modes = [path, `${path}-wal`, `${path}-shm`].map((file) => statSync(file).mode & 0o777);
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
    await store.close();
  });

  it('given an open connection, when its pragmas are read, then commits are durable and erased bytes overwritten', () => {
    const sqlite = openDatabase(join(temporaryDirectory(), 'croupier.db'), 1_234);
    const pragma = (name: string) => sqlite.pragma(name, { simple: true });
    expect(['journal_mode', 'synchronous', 'foreign_keys', 'secure_delete', 'busy_timeout'].map(pragma)).toEqual([
      'wal',
      2,
      1,
      1,
      1_234,
    ]);
    sqlite.close();
  });

  it('given a database of this version, when it is opened again, then it is; closing twice is harmless', async () => {
    const store = await open(await written());
    expect((await store.deviceCounts()).total).toBe(200);
    await store.close();
    await store.close();
    await expectRefusal('store.unavailable', () => store.deviceCounts());
    await expectRefusal('store.unavailable', () => store.clearPresence());
  });

  it('given a write that is waiting, when the store is closed, then it is written first', async () => {
    const path = await written();
    const store = await open(path);
    const waiting = store.appendAudit([event('gateway.stop')], second(1));
    await store.close();
    await waiting;
    const again = await open(path);
    expect((await again.auditRecords(1, 10)).map(({ action }) => action)).toEqual(['gateway.stop']);
    await again.close();
  });

  it('given a database of a newer version, when it is opened, then it is refused untouched', async () => {
    const path = await written();
    change(path, "insert into schema_migrations (hash, created_at) values ('made later', 9999999999999)");
    const before = readFileSync(path);
    await expectRefusal('store.schema-mismatch', () => open(path));
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('given a database with another migration of the same number, when it is opened, then it is refused', async () => {
    const path = await written();
    change(path, "update schema_migrations set hash = 'another'");
    await expectRefusal('store.schema-mismatch', () => open(path));
  });

  it('given the database of another program, when it is opened, then it is refused', async () => {
    const path = join(temporaryDirectory(), 'other.db');
    change(path, 'create table contacts (name text)');
    await expectRefusal('store.schema-mismatch', () => open(path));
  });

  it('given the database of another realm, when it is opened, then it is refused by both names', async () => {
    const path = await written();
    const error = await expectRefusal('config.invalid', () => open(path, Realm.parse('prod')));
    expect(error.message).toMatch(/test.*prod/);
  });

  it('given a file that is no database, when it is opened, then it is corrupt', async () => {
    const path = join(temporaryDirectory(), 'croupier.db');
    writeFileSync(
      path,
      'this is not a database, but it is long enough to have a header of one hundred bytes, which it has not got'.repeat(
        9,
      ),
    );
    await expectRefusal('store.corrupt', () => open(path));
  });

  it('given a database that lost its end, when it is read, then it is corrupt', async () => {
    const path = await written();
    truncateSync(path, 8_192);
    await expectRefusal('store.corrupt', async () => {
      const store = await open(path);
      try {
        await store.devices({ limit: 1_000 });
      } finally {
        await store.close();
      }
    });
  });

  it('given a row that cannot be, when it is read, then it is corrupt, and the rows beside it are not', async () => {
    const path = await written();
    change(path, "update devices set state = 'haunted' where id = 'egm-7'");
    const store = await open(path);
    const error = await expectRefusal('store.corrupt', () => store.devices({ limit: 1, after: 'egm-69' }));
    expect(error.message).toContain('devices');
    expect(await store.devices({ limit: 1, after: 'egm-7' })).toHaveLength(1);
    await store.close();
  });

  it('given an audit record altered in the file, when it is read, then the chain is broken', async () => {
    const path = await written();
    change(path, `update audit_records set record = replace(record, '{"action"', '{"a":1,"action"')`);
    const store = await open(path);
    await expectRefusal('audit.broken', () => store.auditRecords(0, 10));
    await store.close();
  });

  it('given a directory that is a file, when the database is opened, then the store is unavailable', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    await expectRefusal('store.unavailable', () => open(join(file, 'croupier.db')));
  });
});

describe('erasing a key version', () => {
  it('given a wrapped key in the file, when its version is destroyed, then its bytes are in no file any more', async () => {
    const path = join(temporaryDirectory(), 'croupier.db');
    const store = await open(path);
    await addKeySet(store);
    const rollout = await startRotation(store, rotation(1));
    const holds = (bytes: string): boolean =>
      [path, `${path}-wal`].some((file) => existsSync(file) && readFileSync(file).includes(bytes));
    expect([holds('wrapped key 1'), holds('wrapped key 2')]).toEqual([true, true]);
    const erase = { version: version(1), state: 'destroyed', retired: true, erase: true } as const;
    await moveRollout(store, rollout, 12, { state: 'destroying' }, { versions: [erase] });
    expect([holds('wrapped key 1'), holds('wrapped key 2')]).toEqual([false, true]);
    await store.close();
  });
});
