/** Opens the database: file rights, pragmas, migrations, realm; then the store on top of it. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { eq } from 'drizzle-orm';
import { drizzle, type BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { meta } from '#schema/tables.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { auditJournal, auditStore } from './audit.ts';
import { deliveryStore } from './delivery.ts';
import { enrolmentStore } from './enrolment.ts';
import { storeFault } from './faults.ts';
import { fleetStore } from './fleet.ts';
import { governanceStore } from './governance.ts';
import { keySetStore } from './key-sets.ts';
import { migrateDatabase } from './migrate.ts';
import { rolloutStore } from './rollouts.ts';
import { statementsOn } from './statement.ts';
import { transactionsOn, type StoreContext } from './transaction.ts';
import { trustStore } from './trust.ts';

export interface SqliteStoreOptions {
  /** File of the database; made with mode 0600 when it is missing, its directory with 0700. */
  readonly path: string;
  readonly realm: Realm;
  /** For audit records of methods that are given no time. */
  readonly clock?: Clock;
  /** How long a write waits for a lock of another process. It blocks the event loop meanwhile. */
  readonly busyTimeoutMs: number;
}

/**
 * Opens the store, making or migrating the database as needed. Errors: `store.schema-mismatch` when the database is
 * newer or not Croupier's, `config.invalid` when it belongs to another realm, `store.unavailable`, `store.corrupt`.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const sqlite = openDatabase(options.path, options.busyTimeoutMs);
  try {
    return await storeOn(sqlite, options.realm, options.clock);
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

/** A connection with all pragmas set and all migrations applied. */
export function openDatabase(path: string, busyTimeoutMs: number): Database.Database {
  let sqlite: Database.Database | undefined;
  try {
    if (path !== ':memory:') makePrivate(path);
    sqlite = new Database(path, { timeout: busyTimeoutMs });
    prepareConnection(sqlite);
    migrateDatabase(sqlite);
    return sqlite;
  } catch (error) {
    sqlite?.close();
    throw asCroupierError(storeFault(error), 'store.unavailable', `The database ${path} cannot be opened`);
  }
}

/** SQLite gives its log and index files the mode of the database file. */
function makePrivate(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, 'a', 0o600));
}

function prepareConnection(sqlite: Database.Database): void {
  sqlite.pragma('journal_mode = WAL');
  // FULL: a commit that has returned survives a power cut, which NORMAL does not promise with WAL.
  sqlite.pragma('synchronous = FULL');
  sqlite.pragma('foreign_keys = ON');
  // Erased wrapped keys are overwritten, not just unlinked.
  sqlite.pragma('secure_delete = ON');
  sqlite.pragma('trusted_schema = OFF');
  sqlite.pragma('cell_size_check = ON');
  sqlite.pragma('temp_store = MEMORY');
  // A cache of our own instead of a memory map: there, a failing disk would end the process instead of a statement.
  sqlite.pragma('mmap_size = 0');
  sqlite.pragma('cache_size = -32768');
  sqlite.pragma('wal_autocheckpoint = 4000');
  sqlite.pragma('journal_size_limit = 67108864');
}

/** The store over an open, migrated connection. */
export async function storeOn(sqlite: Database.Database, realm: Realm, clock: Clock = systemClock): Promise<Store> {
  const db = drizzle({ client: sqlite });
  const statements = statementsOn(sqlite);
  const transactions = transactionsOn(sqlite, auditJournal(db, statements, realm));
  await transactions.write(() => claimRealm(db, realm));
  const context: StoreContext = {
    db,
    statements,
    transactions,
    clock,
    flushLog: () => flushLog(sqlite),
  };
  return {
    ...fleetStore(context),
    ...enrolmentStore(context),
    ...deliveryStore(context),
    ...keySetStore(context),
    ...rolloutStore(context),
    ...trustStore(context),
    ...governanceStore(context),
    ...auditStore(context),
    async close() {
      transactions.close();
      sqlite.close();
    },
  };
}

function flushLog(sqlite: Database.Database): void {
  try {
    sqlite.pragma('wal_checkpoint(TRUNCATE)');
  } catch {
    // What was committed stands; a later checkpoint overwrites the log.
  }
}

/** Nothing crosses realms: a database serves the realm that made it. */
function claimRealm(db: BetterSQLite3Database, realm: Realm): void {
  const row = db.select().from(meta).where(eq(meta.key, 'realm')).get();
  if (row === undefined) db.insert(meta).values({ key: 'realm', value: realm }).run();
  else if (row.value !== realm) {
    throw new CroupierError('config.invalid', `The database belongs to realm ${row.value}, not ${realm}`);
  }
}
