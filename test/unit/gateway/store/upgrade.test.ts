/** Databases of earlier versions, made by their own migrations and filled as they were. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import {
  accepted,
  deviceId,
  PLAN,
  REALM,
  report,
  rolloutId,
  rolloutRecord,
  second,
  sha256,
  targetMove,
  verified,
  version,
} from '#test/support/store-fixtures.ts';
import { certificate } from '#test/support/delivery-fixtures.ts';
import { expectCounted } from '#test/support/tally-oracle.ts';
import { temporaryDirectory } from './directories.ts';

const MIGRATIONS = fileURLToPath(new URL('../../../../gateway/store/migrations', import.meta.url));
const Journal = z.looseObject({ entries: z.array(z.looseObject({ tag: z.string() })) });

/** A database as the first `count` migrations make it. */
function databaseOf(path: string, count: number): Database.Database {
  const migrationsFolder = join(temporaryDirectory(), 'migrations');
  const journal = Journal.parse(JSON.parse(readFileSync(join(MIGRATIONS, 'meta/_journal.json'), 'utf8')));
  const entries = journal.entries.slice(0, count);
  mkdirSync(join(migrationsFolder, 'meta'), { recursive: true });
  writeFileSync(join(migrationsFolder, 'meta/_journal.json'), JSON.stringify({ ...journal, entries }));
  for (const { tag } of entries) cpSync(join(MIGRATIONS, `${tag}.sql`), join(migrationsFolder, `${tag}.sql`));
  const sqlite = new Database(path);
  migrate(drizzle({ client: sqlite }), { migrationsFolder, migrationsTable: 'schema_migrations' });
  return sqlite;
}

const at = (seconds: number): number => second(seconds).getTime();

/** Devices with their class, whether they are connected, what they have of version 2 and 3, and their target. */
const FLOOR = [
  ['egm-1', 'egm', 1, 'active', null, 'pending'],
  ['egm-2', 'egm', 0, 'active', 'stored', 'stored'],
  ['egm-3', 'egm', 1, 'active', 'active', 'active'],
  ['egm-4', 'egm', 0, 'retired', 'active', 'old-retired'],
  ['egm-5', 'egm', 1, 'destroyed', 'active', 'old-destroyed'],
  ['egm-6', 'egm', 1, null, null, 'refused'],
  ['wallet-1', 'service', 1, 'offered', 'offered', 'offered'],
] as const;

function fill(sqlite: Database.Database): void {
  const run = (statement: string, ...values: readonly (string | number | null | Buffer)[]): void =>
    void sqlite.prepare(statement).run(...values);
  run(`insert into meta values ('realm', ?)`, REALM);
  run(`insert into authorities values ('device-ca', 'device-ca-1', ?, ?)`, Buffer.from('certificate'), at(0));
  run(`insert into key_sets values ('wallet-kek', 'AES-256', 'wrap', 'shared', '{}', 1000, 2, ?)`, at(0));
  const made = `insert into key_versions values ('wallet-kek', ?, ?, null, ?, 'kek-1', '00', ?, null, null, null)`;
  run(made, 2, 'active', Buffer.from('two'), at(0));
  run(made, 3, 'pre-activation', Buffer.from('three'), at(10));
  const rollout = `insert into rollouts values (?, 'key-version', 'wallet-kek', ?, ?, ?, 'alice', ?, null, null, ?)`;
  run(rollout, rolloutId(1), 2, 3, 'distributing', at(10), null);
  run(rollout, rolloutId(2), 1, 2, 'destroyed', at(1), at(5));
  for (const [id, kind, connected, old, next, state] of FLOOR) {
    run(
      `insert into devices values (?, ?, 'main', 'SN', '{}', 'enrolled', null, ?, ?, null, null)`,
      id,
      kind,
      at(0),
      at(0),
    );
    run(
      `insert into device_sync values (?, ?, null, null, 0, 0, 0, null, null, 0, 0, '[]', 0, null, null, null, 0)`,
      id,
      connected,
    );
    const held = `insert into device_key_versions values (?, 'wallet-kek', ?, ?, '00', ?)`;
    if (old !== null) run(held, id, 2, old, at(11));
    if (next !== null) run(held, id, 3, next, at(11));
    const target = `insert into rollout_targets values (?, ?, 0, ?, ?, ?, null, ?)`;
    run(target, rolloutId(1), id, state, null, state === 'stored' ? at(90) : null, at(12));
    run(target, rolloutId(2), id, 'old-destroyed', null, null, at(4));
  }
}

async function upgraded() {
  const path = join(temporaryDirectory(), 'croupier.db');
  const sqlite = databaseOf(path, 1);
  fill(sqlite);
  sqlite.close();
  return openSqliteStore({ path, realm: REALM, busyTimeoutMs: 100 });
}

describe('a database with rotations under way, made by the first version', () => {
  it('given it, when it is opened, then its rollouts have the plan that they followed, and their counts are right', async () => {
    const store = await upgraded();
    const detail = await store.rollout(rolloutId(1));
    const planSha256 = detail?.rollout.planSha256 ?? sha256('');
    expect(detail?.rollout).toEqual(
      rolloutRecord({ fromVersion: version(2), toVersion: version(3), planSha256, plan: PLAN }),
    );
    expect((await store.rollouts(undefined, 10)).map(({ state }) => state)).toEqual(['distributing', 'destroyed']);
    await expectCounted(store, 1, 3);
    await expectCounted(store, 2, 2);
    const targets = await store.rolloutTargets(rolloutId(1), { limit: 10 });
    expect(
      targets.map(({ device, service, connected, old, deferredUntil }) => [
        device,
        service,
        connected,
        old,
        deferredUntil,
      ]),
    ).toEqual([
      ['egm-1', false, true, 'in-use', undefined],
      ['egm-2', false, false, 'in-use', second(90)],
      ['egm-3', false, true, 'held', undefined],
      ['egm-4', false, false, 'held', undefined],
      ['egm-5', false, true, 'gone', undefined],
      ['egm-6', false, true, 'gone', undefined],
      ['wallet-1', true, true, 'in-use', undefined],
    ]);
    await store.close();
  });

  it('given it, when it goes on, then steps follow the ones before, and the counts with them', async () => {
    const store = await upgraded();
    const device = deviceId('egm-1');
    const reported = verified(report('egm-1', 1), certificate({ device }));
    const move = targetMove(1, 'stored', { changedAt: second(101) });
    await store.recordReports([reported], () => accepted({ targets: [move] }));
    await store.setPresence([{ device, connected: false, address: undefined, at: second(102) }]);
    await expectCounted(store, 1, 3);
    const steps = await store.targetHistory({ rollout: rolloutId(1), device }, 0, 10);
    expect(steps.map(({ from, to, at: when }) => [from, to, when])).toEqual([
      [undefined, 'pending', second(12)],
      ['pending', 'stored', second(101)],
    ]);
    expect(await store.authority('device-ca')).toEqual({
      role: 'device-ca',
      keyLabel: 'device-ca-1',
      state: 'current',
      certificate: Buffer.from('certificate'),
      createdAt: second(0),
      changedAt: second(0),
    });
    await store.close();
  });
});
