/**
 * The two kinds of transaction. Work inside them is synchronous from begin to end: better-sqlite3 has one connection,
 * and what a callback writes after an `await` would land outside of its transaction. The types refuse such a callback.
 *
 * Writes that are asked for in one turn of the event loop share a commit, since a commit waits for the disk; under load
 * commits keep a distance, so that more can share them. Each has a savepoint of its own: one that throws is undone alone, and none is answered before all are on the disk.
 *
 * Whoever comes alone needs none. That matters to thousands of statements with triggers: each sets a mark inside the
 * savepoint, and SQLite walks through all that was changed since its beginning to take the mark back.
 */
import type Database from 'better-sqlite3';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AlertRecord, AuditAppended } from '#gateway/ports/store/audit.ts';
import { storeFault } from './faults.ts';
import type { Statements } from './statement.ts';

/** A result that is there when the callback returns; a promise becomes `never`, so that no async callback fits. */
export type Settled<T> = T extends PromiseLike<unknown> ? never : T;

/** Appends records to the audit chain; only inside `write`. */
export type Journal = (events: readonly AuditEvent[], at: Date) => void;

/** The journal itself: it answers with the alerts that were raised on the way. */
export type AuditJournal = (events: readonly AuditEvent[], at: Date) => readonly AlertRecord[];

export interface Transactions {
  /** A consistent view for several statements. Errors: `store.unavailable`, `store.corrupt`. */
  read<T>(work: () => Settled<T>): T;
  /**
   * Runs `work` under the write lock, so that nothing it reads can change before the commit, and answers once that is
   * durable. Whatever `work` throws undoes it and is thrown on. `alone`: work of thousands of statements, which shares
   * its commit with nobody. Errors: `store.unavailable`, `store.corrupt`, `audit.unavailable`.
   */
  write<T>(work: (journal: Journal) => Settled<T>, share?: 'alone'): Promise<T>;
  /** Calls back after every commit of work that appended to the audit chain. Returns what ends it. */
  watch(watcher: (appended: AuditAppended) => void): () => void;
  /** Commits what is waiting; later calls are refused. */
  close(): void;
}

/** What every part of the store works with. */
export interface StoreContext {
  readonly db: BetterSQLite3Database;
  readonly statements: Statements;
  readonly transactions: Transactions;
  readonly clock: Clock;
  /** Empties the write-ahead log, so that erased bytes are in no file. Best effort: a reader may hold it. */
  readonly flushLog: () => void;
}

/** A commit takes in no more work after this time, so that the event loop gets its turn. */
const GROUP_MS = 15;
/** Between two commits that others may share lies so many times what the last one took: most of the time is for work. */
const PAUSE_FACTOR = 3;
const MOST_PAUSE_MS = 15;
/** After a pause in which nobody came, so many commits go without one: they come one by one. */
const COMMITS_WITHOUT_PAUSE = 16;

interface Waiting {
  readonly alone: boolean;
  /** Returns what the work did, so that better-sqlite3 refuses a promise that slipped past the types. */
  run(): unknown;
  commit(): void;
  fail(error: unknown): void;
}

const closed = (): CroupierError => new CroupierError('store.unavailable', 'The database has been closed');

export function transactionsOn(sqlite: Database.Database, journal: AuditJournal): Transactions {
  const watchers = new Set<(appended: AuditAppended) => void>();
  const waiting: Waiting[] = [];
  let scheduled = false;
  let open = true;
  let next = { earliest: 0, unpaused: 0 };

  // Made once: a transaction function is costly to make.
  const inSavepoint = sqlite.transaction((item: Waiting) => item.run());
  const inTransaction = sqlite.transaction((work: () => unknown) => work());

  /** Takes those that may share the next commit out of the line. */
  const takeGroup = (): readonly Waiting[] => {
    const loner = waiting.findIndex(({ alone }) => alone);
    return waiting.splice(0, loner === -1 ? waiting.length : Math.max(1, loner));
  };

  /** Runs as many as fit into the time; returns how many. What fails by itself is undone, answered and left out. */
  const runAll = (group: readonly Waiting[], failed: Set<Waiting>): number => {
    const deadline = performance.now() + GROUP_MS;
    let count = 0;
    for (const item of group) {
      if (count > 0 && performance.now() > deadline) break;
      count += 1;
      try {
        inSavepoint(item);
      } catch (error) {
        failed.add(item);
        item.fail(error);
        // A full or failing disk may have undone the whole transaction, not just the savepoint.
        if (!sqlite.inTransaction) throw error;
      }
    }
    return count;
  };

  const pace = (commitMs: number, count: number): void => {
    const { unpaused } = next;
    const earliest = performance.now() + Math.min(MOST_PAUSE_MS, commitMs * PAUSE_FACTOR);
    if (count > 1) next = { earliest, unpaused: 0 };
    else next = { earliest, unpaused: unpaused === 0 ? COMMITS_WITHOUT_PAUSE : unpaused - 1 };
  };

  const commitGroup = (): void => {
    const group = takeGroup();
    const failed = new Set<Waiting>();
    const isLeft = (item: Waiting): boolean => !failed.has(item);
    let allRan = false;
    let count = 0;
    let ranAt = 0;
    try {
      inTransaction.immediate(() => {
        const [first, second] = group;
        const result = second === undefined ? first?.run() : undefined;
        count = second === undefined ? 1 : runAll(group, failed);
        allRan = true;
        ranAt = performance.now();
        return result;
      });
      pace(performance.now() - ranAt, count);
      waiting.unshift(...group.slice(count));
      for (const item of group.slice(0, count).filter(isLeft)) item.commit();
    } catch (error) {
      // One took the transaction of all with it: the others, which decide purely, run again without it.
      if (!allRan && failed.size > 0) waiting.unshift(...group.filter(isLeft));
      else for (const item of group.filter(isLeft)) item.fail(error);
    }
  };

  const turn = (): void => {
    scheduled = false;
    if (waiting.length > 0) commitGroup();
    schedule();
  };

  const schedule = (): void => {
    if (scheduled || waiting.length === 0) return;
    scheduled = true;
    const pause = next.unpaused > 0 ? 0 : next.earliest - performance.now();
    if (pause > 0) setTimeout(turn, pause);
    else setImmediate(turn);
  };

  return {
    read(work) {
      if (!open) throw closed();
      try {
        return sqlite.transaction(work).deferred();
      } catch (error) {
        throw storeFault(error);
      }
    },

    write<T>(work: (journal: Journal) => Settled<T>, share?: 'alone'): Promise<T> {
      if (!open) return Promise.reject(closed());
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      let commit = (): void => {};
      waiting.push({
        alone: share === 'alone',
        run: () => {
          const raised: AlertRecord[] = [];
          let appends = false;
          const result: T = work((events, at) => {
            appends ||= events.length > 0;
            raised.push(...journal(events, at));
          });
          commit = () => {
            resolve(result);
            if (appends) for (const watcher of watchers) watcher({ raised });
          };
          return result;
        },
        commit: () => commit(),
        fail: (error) => reject(storeFault(error)),
      });
      schedule();
      return promise;
    },

    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },

    close() {
      while (waiting.length > 0) commitGroup();
      open = false;
    },
  };
}
