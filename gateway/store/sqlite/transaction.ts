/**
 * The two kinds of transaction. Both are synchronous from begin to end: better-sqlite3 has one connection, and what
 * a callback writes after an `await` would land outside of its transaction. The types refuse such a callback.
 */
import type Database from 'better-sqlite3';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { storeFault } from './faults.ts';

/** A result that is there when the callback returns; a promise becomes `never`, so that no async callback fits. */
export type Settled<T> = T extends PromiseLike<unknown> ? never : T;

/** Appends records to the audit chain; only inside `write`. */
export type Journal = (events: readonly AuditEvent[], at: Date) => void;

export interface Transactions {
  /** A consistent view for several statements. Errors: `store.unavailable`, `store.corrupt`. */
  read<T>(work: () => Settled<T>): T;
  /**
   * Takes the write lock first, so that nothing read can change before the commit. Whatever `work` throws rolls
   * everything back and is thrown on. Errors: `store.unavailable`, `store.corrupt`, `audit.unavailable`.
   */
  write<T>(work: (journal: Journal) => Settled<T>): T;
}

/** What every part of the store works with. */
export interface StoreContext {
  readonly db: BetterSQLite3Database;
  readonly transactions: Transactions;
  readonly realm: Realm;
  readonly clock: Clock;
  /** Empties the write-ahead log, so that erased bytes are in no file. Best effort: a reader may hold it. */
  readonly flushLog: () => void;
}

export function transactionsOn(sqlite: Database.Database, journal: Journal): Transactions {
  const run = <T>(work: () => T): T => {
    if (!sqlite.open) throw new CroupierError('store.unavailable', 'The database has been closed');
    try {
      return work();
    } catch (error) {
      throw storeFault(error);
    }
  };
  return {
    read: (work) => run(() => sqlite.transaction(work).deferred()),
    write: (work) => run(() => sqlite.transaction(() => work(journal)).immediate()),
  };
}
