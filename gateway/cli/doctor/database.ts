/** The database: whole, of this version, with an audit trail that verifies. */
import { stat } from 'node:fs/promises';
import Database from 'better-sqlite3';
import { asCroupierError, CroupierError, errorMessage } from '#schema/errors.ts';
import type { Config } from '#schema/config.ts';
import { ROLES } from '#schema/operators.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { exportAudit } from '#gateway/audit/export.ts';
import { verifyExport } from '#gateway/audit/verify-export.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { storeFault } from '#gateway/store/sqlite/faults.ts';
import { migrateDatabase } from '#gateway/store/sqlite/migrate.ts';
import { fail, failure, ok, warn, type Finding } from './check.ts';

/** The file by itself, opened for reading alone. */
export async function checkDatabase(config: Config): Promise<readonly Finding[]> {
  const check = 'database';
  const { path, busyTimeout } = config.store;
  const info = await stat(path).catch(() => undefined);
  if (info === undefined)
    return [
      fail(check, 'config.missing', `there is no database ${path}`, 'Restore it from a backup, or correct store.path.'),
    ];
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { readonly: true, fileMustExist: true, timeout: busyTimeout });
    const faults = database.prepare('pragma integrity_check(5)').pluck().all();
    if (faults.length !== 1 || faults[0] !== 'ok') {
      return [fail(check, 'store.corrupt', `${path} is damaged: ${faults.map(String).join('; ').slice(0, 300)}`)];
    }
    const orphans = database.prepare('pragma foreign_key_check').all().length;
    if (orphans > 0) return [fail(check, 'store.corrupt', `${path} has ${orphans} rows that refer to missing ones`)];
    return [ok(check, `${path} is whole, ${(info.size / 2 ** 20).toFixed(1)} MiB`), ...checkMigrations(database)];
  } catch (error) {
    return [
      failure(
        check,
        asCroupierError(storeFault(error), 'store.unavailable', `${path} cannot be read: ${errorMessage(error)}`),
      ),
    ];
  } finally {
    database?.close();
  }
}

/** On a connection that cannot write, migrating does nothing when nothing is missing, and fails otherwise. */
function checkMigrations(database: Database.Database): readonly Finding[] {
  const check = 'migrations';
  try {
    migrateDatabase(database);
    return [ok(check, 'all applied')];
  } catch (error) {
    if (error instanceof CroupierError) return [failure(check, error)];
    return [
      warn(
        check,
        'the database is older than this version of Croupier',
        'Back it up, then start the gateway: it applies what is missing.',
      ),
    ];
  }
}

export async function checkAudit(
  store: Store,
  config: Config,
  clock: Clock,
  root: Uint8Array,
): Promise<readonly Finding[]> {
  const lines = async function* (): AsyncGenerator<string> {
    for await (const line of exportAudit({ store, clock, realm: config.realm, root: () => root }))
      yield canonicalJson(line);
  };
  const { records, sealed, unsealed } = await verifyExport(lines(), { root });
  const signed = sealed === undefined ? 'none signed yet' : `signed up to ${sealed.seq}`;
  return [ok('audit trail', `${records} records verified, ${signed}${unsealed > 0 ? `, ${unsealed} not signed` : ''}`)];
}

/** Whether the realm can be governed and served at all. */
export async function checkGovernance(store: Store): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const operators = await store.operators();
  const missing = ROLES.filter((role) => !operators.some((operator) => operator.role === role));
  findings.push(
    missing.length === 0
      ? ok('operators', `${operators.length}, every role is filled`)
      : warn(
          'operators',
          `nobody is ${missing.join(', ')}`,
          `Run croupier operator add NAME --role ${missing[0] ?? ''} --found.`,
        ),
  );
  const policy = await store.currentPolicy();
  findings.push(
    policy === undefined
      ? warn('policy', 'no policy was ever applied', 'Run croupier apply POLICY.yaml.')
      : ok('policy', `version ${policy.version}, applied ${policy.appliedAt.toISOString()} by ${policy.appliedBy}`),
  );
  return findings;
}
