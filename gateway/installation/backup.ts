/** Copies of the database: taken beside a running gateway, and put back in its place. docs/restore.md. */
import { chmod, copyFile, link, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import Database from 'better-sqlite3';
import { asCroupierError, CroupierError, errorMessage } from '#schema/errors.ts';
import type { Config } from '#schema/config.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { exportAudit } from '#gateway/audit/export.ts';
import { verifyExport, type ExportVerification } from '#gateway/audit/verify-export.ts';
import { storeFault } from '#gateway/store/sqlite/faults.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import {
  markRestored,
  readPredecessor,
  type Predecessor,
  type RestorationSummary,
} from '#gateway/store/sqlite/restoration.ts';
import { auditRoot } from '#gateway/trust/lineage.ts';
import type { DataDirectory } from './data-directory.ts';
import { lockDataDirectory } from './run-file.ts';

type StoreConfig = Pick<Config, 'realm' | 'store'>;

export interface BackupSummary {
  readonly file: string;
  readonly bytes: number;
  /** Number, hash and time of the last audit record in it. */
  readonly head: { readonly seq: number; readonly hash: string };
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );

async function syncDirectory(file: string): Promise<void> {
  const handle = await open(path.dirname(file), 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** SQLite's own files beside a database. */
const companions = (file: string): readonly string[] => [`${file}-wal`, `${file}-shm`];

async function remove(file: string): Promise<void> {
  for (const one of [file, ...companions(file)]) await rm(one, { force: true });
}

/**
 * Whether a migrated database is whole and of this realm, and its audit trail verifies. Errors: `store.corrupt`,
 * `audit.broken`, `config.invalid` for another realm, `config.missing` for one without a realm.
 */
async function verifyDatabase(
  sqlite: Database.Database,
  { realm }: StoreConfig,
  clock: Clock,
  name: string,
): Promise<ExportVerification> {
  const faults = sqlite.prepare('pragma integrity_check(5)').pluck().all();
  if (faults.length !== 1 || faults[0] !== 'ok')
    throw new CroupierError('store.corrupt', `${name} is damaged: ${faults.map(String).join('; ').slice(0, 300)}`);
  const store = await storeOn(sqlite, realm, clock);
  const root = auditRoot(await store.authorities())?.certificate;
  if (root === undefined) throw new CroupierError('config.missing', `${name} holds no realm: it names no root`);
  const lines = async function* (): AsyncGenerator<string> {
    for await (const line of exportAudit({ store, clock, realm, root: () => root })) yield canonicalJson(line);
  };
  return verifyExport(lines(), { root });
}

/**
 * Copies the database of a gateway, running or not, to `file` (0600, one file, verified). Errors: `input.invalid` when
 * there is one of that name, `config.missing` without a database, those of `verifyDatabase`.
 */
export async function backupDatabase(config: StoreConfig, file: string, clock: Clock): Promise<BackupSummary> {
  const { path: source, busyTimeout } = config.store;
  if (await exists(file)) throw new CroupierError('input.invalid', `${file} exists already; name another file`);
  if (!(await exists(source))) throw new CroupierError('config.missing', `there is no database ${source}`);
  const temporary = `${file}.${process.pid}.new`;
  try {
    await copyLive(source, temporary, busyTimeout);
    const copy = openDatabase(temporary, busyTimeout);
    let verified: ExportVerification;
    try {
      verified = await verifyDatabase(copy, config, clock, `the copy of ${source}`);
      // One file, that nothing has to lie beside.
      copy.pragma('journal_mode = DELETE');
    } finally {
      copy.close();
    }
    await chmod(temporary, 0o600);
    const handle = await open(temporary, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncDirectory(file);
    return { file, bytes: (await stat(file)).size, head: { seq: verified.last, hash: verified.head } };
  } finally {
    await remove(temporary);
  }
}

/** SQLite's online backup: a consistent copy, whatever the gateway writes meanwhile. */
async function copyLive(source: string, target: string, busyTimeout: number): Promise<void> {
  let live: Database.Database | undefined;
  try {
    await (await open(target, 'wx', 0o600)).close();
    live = new Database(source, { readonly: true, fileMustExist: true, timeout: busyTimeout });
    await live.backup(target);
  } catch (error) {
    throw asCroupierError(storeFault(error), 'store.unavailable', `${source} cannot be copied: ${errorMessage(error)}`);
  } finally {
    live?.close();
  }
}

export interface RestoreSummary extends RestorationSummary {
  /** Where the database that was replaced lies now; undefined when there was none. */
  readonly aside: string | undefined;
  /** Whether that database could still be read: if not, containment since the backup is lost. */
  readonly predecessorRead: boolean;
}

/** Tells what it can, and leaves one whole file behind where it can. */
function leave(file: string, busyTimeout: number): Predecessor | undefined {
  let sqlite: Database.Database | undefined;
  try {
    sqlite = new Database(file, { fileMustExist: true, timeout: busyTimeout });
    sqlite.pragma('wal_checkpoint(TRUNCATE)');
    return readPredecessor(sqlite);
  } catch {
    return undefined;
  } finally {
    sqlite?.close();
  }
}

/** Moves the database out of the way, without a moment in which there is none. */
async function putAside(file: string, at: Date): Promise<string> {
  const aside = `${file}.before-${at.toISOString().replaceAll(/[:.]/g, '-')}`;
  for (const companion of companions(file))
    if (await exists(companion)) await rename(companion, companion.replace(file, aside));
  await link(file, aside);
  return aside;
}

/**
 * Puts a backup in the place of the database. The gateway must not run. The backup is verified and marked first, on a copy:
 * until the last step, which is one rename, nothing has changed. Errors: `data.in-use`, `config.missing`,
 * `store.schema-mismatch`, those of `verifyDatabase`.
 */
export async function restoreDatabase(
  data: DataDirectory,
  config: StoreConfig,
  file: string,
  clock: Clock,
): Promise<RestoreSummary> {
  const { path: target, busyTimeout } = config.store;
  const unlock = await lockDataDirectory(data);
  const staged = `${target}.restoring`;
  try {
    if (!(await exists(file))) throw new CroupierError('config.missing', `there is no backup ${file}`);
    await remove(staged);
    await copyFile(file, staged);
    await chmod(staged, 0o600);
    const at = clock.now();
    const hadDatabase = await exists(target);
    const predecessor = hadDatabase ? leave(target, busyTimeout) : undefined;
    const copy = openDatabase(staged, busyTimeout);
    let summary: RestorationSummary;
    try {
      await verifyDatabase(copy, config, clock, file);
      summary = await markRestored(copy, config.realm, { at, actor: { type: 'console', id: 'restore' }, predecessor });
      copy.pragma('wal_checkpoint(TRUNCATE)');
    } finally {
      copy.close();
    }
    const aside = hadDatabase ? await putAside(target, at) : undefined;
    await rename(staged, target);
    await syncDirectory(target);
    return { ...summary, aside, predecessorRead: predecessor !== undefined };
  } finally {
    await remove(staged);
    await unlock();
  }
}
