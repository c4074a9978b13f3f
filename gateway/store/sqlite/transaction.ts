/**
 * The two kinds of transaction. Work inside them is synchronous from begin to end: better-sqlite3 has one connection,
 * and what a callback writes after an `await` would land outside of its transaction. The types refuse such a callback.
 *
 * Writes that are asked for in one turn of the event loop share a commit, since a commit waits for the disk; under load
 * commits keep a distance, so that more can share them. One that throws is undone alone: the transaction is given up, those
 * before it run again without it, and none is answered before all are on the disk. Work decides purely, so that it may run
 * again.
 *
 * There are no savepoints. Every statement with a trigger sets a mark inside a savepoint, and to take the mark back SQLite
 * walks through all that was changed since the savepoint began: ten thousand statements took ten seconds.
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
   * durable. Whatever `work` throws undoes it and is thrown on. It may run again, and only what the last run did counts.
   * Errors: `store.unavailable`, `store.corrupt`, `audit.unavailable`.
   */
  write<T>(work: (journal: Journal) => Settled<T>): Promise<T>;
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
  run(): void;
  commit(): void;
  fail(error: unknown): void;
}

/** What slipped past the types: a promise, or a query that was built and not run. */
const isThenable = (result: unknown): boolean =>
  typeof result === 'object' && result !== null && 'then' in result && typeof result.then === 'function';

const closed = (): CroupierError => new CroupierError('store.unavailable', 'The database has been closed');

export function transactionsOn(sqlite: Database.Database, journal: AuditJournal): Transactions {
  const watchers = new Set<(appended: AuditAppended) => void>();
  const waiting: Waiting[] = [];
  let scheduled = false;
  let open = true;
  let next = { earliest: 0, unpaused: 0 };

  // Made once: a transaction function is costly to make.
  const inTransaction = sqlite.transaction((work: () => void) => work());

  const pace = (commitMs: number, count: number): void => {
    const { unpaused } = next;
    const earliest = performance.now() + Math.min(MOST_PAUSE_MS, commitMs * PAUSE_FACTOR);
    if (count > 1) next = { earliest, unpaused: 0 };
    else next = { earliest, unpaused: unpaused === 0 ? COMMITS_WITHOUT_PAUSE : unpaused - 1 };
  };

  /** Commits what waits at the head of the line: at most so many, and no more than fit into the time. */
  const commitHead = (most: number): void => {
    let ran = 0;
    let begun = false;
    let ranAt: number | undefined;
    try {
      inTransaction.immediate(() => {
        begun = true;
        const deadline = performance.now() + GROUP_MS;
        for (const item of waiting.slice(0, most)) {
          if (ran > 0 && performance.now() > deadline) break;
          item.run();
          ran += 1;
        }
        ranAt = performance.now();
      });
    } catch (error) {
      // Nobody has the lock, and each would wait for it as long as the first.
      if (!begun) for (const item of waiting.splice(0, most)) item.fail(error);
      // The commit itself failed: nobody's work is on the disk.
      else if (ranAt !== undefined) for (const item of waiting.splice(0, ran)) item.fail(error);
      // Whoever comes first has nobody's uncommitted work to blame.
      else if (ran === 0) waiting.shift()?.fail(error);
      else commitHead(ran);
      return;
    }
    pace(performance.now() - (ranAt ?? 0), ran);
    for (const item of waiting.splice(0, ran)) item.commit();
  };

  const turn = (): void => {
    scheduled = false;
    if (waiting.length > 0) commitHead(waiting.length);
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

    write<T>(work: (journal: Journal) => Settled<T>): Promise<T> {
      if (!open) return Promise.reject(closed());
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      let commit = (): void => {};
      waiting.push({
        run: () => {
          const raised: AlertRecord[] = [];
          let appends = false;
          const result: T = work((events, at) => {
            appends ||= events.length > 0;
            raised.push(...journal(events, at));
          });
          if (isThenable(result)) throw new TypeError('Work in a transaction returns no promise');
          commit = () => {
            resolve(result);
            if (appends) for (const watcher of watchers) watcher({ raised });
          };
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
      while (waiting.length > 0) commitHead(waiting.length);
      open = false;
    },
  };
}
