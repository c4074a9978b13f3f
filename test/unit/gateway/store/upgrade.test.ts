/** Databases of earlier versions, made by their own migrations and filled as they were. */
import { randomUUID } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { CHAIN_START, nextLink, type ChainHead } from '#gateway/audit/chain.ts';
import { rolloutEvent } from '#gateway/rollout/decide.ts';
import { stepOf } from '#gateway/rollout/history.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import {
  accepted,
  approvalId,
  deviceId,
  event,
  PLAN,
  REALM,
  report,
  rolloutId,
  rolloutRecord,
  second,
  sha256,
  targetMove,
  targetSteps,
  verified,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { certificate } from '#test/support/delivery-fixtures.ts';
import { expectCounted } from '#test/support/tally-oracle.ts';
import { temporaryDirectory } from './directories.ts';

const MIGRATIONS = fileURLToPath(new URL('../../../../gateway/store/migrations', import.meta.url));
const Journal = z.looseObject({ entries: z.array(z.looseObject({ tag: z.string() })) });

/** A database as the first `count` migrations make it, out of nothing or of one that fewer of them have made. */
function databaseOf(path: string, count: number): Database.Database {
  const migrationsFolder = join(temporaryDirectory(), 'migrations');
  const journal = Journal.parse(JSON.parse(readFileSync(join(MIGRATIONS, 'meta/_journal.json'), 'utf8')));
  const entries = journal.entries.slice(0, count);
  mkdirSync(join(migrationsFolder, 'meta'), { recursive: true });
  writeFileSync(join(migrationsFolder, 'meta/_journal.json'), JSON.stringify({ ...journal, entries }));
  for (const { tag } of entries) cpSync(join(MIGRATIONS, `${tag}.sql`), join(migrationsFolder, `${tag}.sql`));
  const sqlite = new Database(path);
  sqlite.pragma('foreign_keys = OFF');
  migrate(drizzle({ client: sqlite }), { migrationsFolder, migrationsTable: 'schema_migrations' });
  sqlite.pragma('foreign_keys = ON');
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
    const steps = await targetSteps(store, { rollout: rolloutId(1), device });
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

describe('a database whose history is in the audit trail alone, made by the version before', () => {
  const GRACE = { type: 'operator', id: 'grace' } as const;
  const GATEWAY = { type: 'gateway', id: 'rollout' } as const;
  const approval = { id: approvalId(1), hash: sha256('asked'), approvers: ['hedy'] };
  const ROLLOUT = rolloutRecord({ fromVersion: version(2), toVersion: version(3) });
  const about = (action: string, actor: AuditActor, details: AuditEvent['details'], over: Partial<AuditEvent> = {}) =>
    rolloutEvent(ROLLOUT, action, actor, details ?? {}, over);
  const start = { rollout: ROLLOUT.id, plan: 'default', startAt: second(10).toISOString() };
  const said: readonly (readonly [number, AuditEvent])[] = [
    [10, event('keyset.rotate', { actor: GRACE, approval, object: { type: 'keyset', id: WALLET }, details: start })],
    [12, about('rollout.prepare', GATEWAY, { targets: 7, waves: ['all: 7'] })],
    [12, about('rollout.distributing', GATEWAY, { plan: 'default' })],
    [20, about('rollout.wave-soaks', GATEWAY, { wave: 'all' })],
    [21, about('rollout.pause', GATEWAY, { reason: 'too many' }, { code: 'rollout.errors-exceeded' })],
    [22, about('rollout.resume', GRACE, {}, { outcome: 'denied', code: 'rollout.state-refused' })],
    [23, about('rollout.resume', GRACE, { pausedBy: 'the gateway', reason: 'mended' }, { approval })],
    [24, event('device.quarantine', { actor: GRACE, device: 'egm-5', details: { reason: 'seized' } })],
    [30, about('rollout.retry', GRACE, { devices: 1, named: ['egm-6'] })],
    [31, about('rollout.exempt', GRACE, { devices: 1, named: ['egm-1'], reason: 'sold' })],
    [40, about('rollout.active', GATEWAY, {})],
    [50, about('rollout.sign-off', GRACE, { devices: 1, named: ['egm-2'], reason: 'lost' }, { approval })],
    [60, event('trust.publish', { actor: GRACE, object: { type: 'trust-bundle', id: '2' }, details: { sha256: 'f' } })],
  ];

  async function withTrail() {
    const path = join(temporaryDirectory(), 'croupier.db');
    const first = databaseOf(path, 1);
    fill(first);
    first.close();
    const sqlite = databaseOf(path, 3);
    let head: ChainHead = CHAIN_START;
    for (const [index, [seconds, one]] of said.entries()) {
      const { record, hashed } = nextLink(head, one, second(seconds), randomUUID(), REALM);
      sqlite.prepare('insert into audit_records values (?, ?, ?)').run(index + 1, record.hash, hashed);
      head = record;
    }
    const move = sqlite.prepare(
      'update rollout_targets set state = ?, code = null, reason = ?, signed_off = ?, changed_at = ? where rollout = ? and device = ?',
    );
    move.run('pending', null, null, at(30), rolloutId(1), 'egm-6');
    move.run('exempt', 'sold', null, at(31), rolloutId(1), 'egm-1');
    move.run('stored', 'lost', approvalId(1), at(12), rolloutId(1), 'egm-2');
    sqlite
      .prepare(
        `insert into rollouts select ?, 'trust-bundle', null, 1, 2, null, plan, plan_sha256, 'active', start_at, prepared_at, wave,
          wave_opened_at, null, null, null, null, null, null, 'grace', ?, null, null, null from rollouts where id = ?`,
      )
      .run(rolloutId(3), at(60), rolloutId(1));
    sqlite.close();
    return openSqliteStore({ path, realm: REALM, busyTimeoutMs: 100 });
  }

  it('given it, when it is opened, then its history has what the trail says of rollouts, as it would be derived now', async () => {
    const store = await withTrail();
    const steps = await store.history({ rollout: ROLLOUT.id, steps: 'rollout' }, 0, 100);
    const derived = said.flatMap(([seconds, one]) => {
      const found = stepOf(one);
      return found === undefined ? [] : [{ at: second(seconds), ...found }];
    });
    expect(derived).toHaveLength(10);
    expect(
      steps.map((step) => {
        if (step.kind !== 'rollout') throw new Error('a step of a target');
        const { at: when, rollout, step: name, code, word, details } = step;
        return { at: when, rollout, step: name, code, ...word, details };
      }),
    ).toEqual(derived);
    const [published] = await store.history({ rollout: rolloutId(3), steps: 'all' }, 0, 100);
    expect(published).toMatchObject({ kind: 'rollout', step: 'started', at: second(60), details: { sha256: 'f' } });
    await store.close();
  });

  it('given it, when it is opened, then all steps are in order, and what people said of devices stands at them', async () => {
    const store = await withTrail();
    const all = await store.history({ rollout: ROLLOUT.id, steps: 'all' }, 0, 100);
    expect(all.map((step) => step.at.getTime())).toEqual(all.map((step) => step.at.getTime()).sort((a, b) => a - b));
    expect(all[0]).toMatchObject({ step: 'started' });
    const wordsOf = async (id: string) =>
      (await targetSteps(store, { rollout: ROLLOUT.id, device: deviceId(id) })).map(({ at: when, from, to, word }) => [
        when,
        from,
        to,
        word?.step,
        word?.by,
        word?.approvedBy,
        word?.reason,
      ]);
    const nobody = [undefined, undefined, undefined, undefined];
    const begun = (state: string) => [second(12), undefined, state, ...nobody];
    expect(await wordsOf('egm-6')).toEqual([
      begun('refused'),
      [second(30), 'refused', 'pending', 'retried', 'grace', [], undefined],
    ]);
    expect(await wordsOf('egm-1')).toEqual([
      begun('pending'),
      [second(31), 'pending', 'exempt', 'exempted', 'grace', [], 'sold'],
    ]);
    expect(await wordsOf('egm-2')).toEqual([
      begun('stored'),
      [second(50), 'stored', 'stored', 'signed-off', 'grace', ['hedy'], 'lost'],
    ]);
    expect(await wordsOf('egm-3')).toEqual([begun('active')]);
    await store.close();
  });
});
