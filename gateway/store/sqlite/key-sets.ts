/** Key sets with their versions: few rows that many decisions look at. */
import { and, asc, eq, sql, type SQL } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { KeySetName } from '#schema/ids.ts';
import { CroupierError } from '#schema/errors.ts';
import { keySets, keyVersions, meta } from '#schema/tables.ts';
import type { KeySetStore } from '#gateway/ports/store/keys.ts';
import type { KeySetRecord, KeyVersionRecord } from '#gateway/ports/store/records.ts';
import type { KeyVersionChange } from '#gateway/ports/store/rollouts.ts';
import { raiseDue, selectorCondition } from './due.ts';
import { blob, keySetHead, keyVersionRecord, ms } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';

export interface KeySetQueries {
  all(): readonly KeySetRecord[];
  one(name: KeySetName): KeySetRecord | undefined;
}

export function keySetQueries({ db, statements }: Pick<StoreContext, 'db' | 'statements'>): KeySetQueries {
  const [headRow] = layout(keySets);
  const [versionRow] = layout(keyVersions);
  const byName = eq(keySets.name, sql.placeholder('name'));
  const ofSet = eq(keyVersions.keySet, sql.placeholder('name'));
  const head = (row: Row) => keySetHead(headRow(row));
  const version = (row: Row) => keyVersionRecord(versionRow(row));
  const heads = statements.all(db.select().from(keySets).orderBy(asc(keySets.name)), head);
  const versions = statements.all(
    db.select().from(keyVersions).orderBy(asc(keyVersions.keySet), asc(keyVersions.version)),
    version,
  );
  const oneHead = statements.first(db.select().from(keySets).where(byName), head);
  const versionsOf = statements.all(
    db.select().from(keyVersions).where(ofSet).orderBy(asc(keyVersions.version)),
    version,
  );
  return {
    all() {
      const bySet = Map.groupBy(versions(), (entry) => entry.keySet);
      return heads().map((entry) => ({ ...entry, versions: bySet.get(entry.name) ?? [] }));
    },
    one(name) {
      const found = oneHead({ name });
      return found === undefined ? undefined : { ...found, versions: versionsOf({ name }) };
    },
  };
}

export function insertKeyVersion(db: BetterSQLite3Database, version: KeyVersionRecord): void {
  db.insert(keyVersions)
    .values({
      ...version,
      wrapped: version.wrapped === undefined ? null : blob(version.wrapped),
      retiredAt: ms(version.retiredAt),
      createdAt: version.createdAt.getTime(),
      activatedAt: ms(version.activatedAt),
      deactivatedAt: ms(version.deactivatedAt),
      compromisedAt: ms(version.compromisedAt),
      destroyedAt: ms(version.destroyedAt),
    })
    .run();
}

/** A version after a change; the first time of each state is kept. */
function changedVersion(version: KeyVersionRecord, change: KeyVersionChange, at: Date) {
  const since = (state: string, before: Date | undefined): number | null =>
    ms(before ?? (change.state === state ? at : undefined));
  return {
    state: change.state,
    retiredAt: change.retired ? ms(version.retiredAt ?? at) : null,
    activatedAt: since('active', version.activatedAt),
    deactivatedAt: since('deactivated', version.deactivatedAt),
    compromisedAt:
      change.compromised === true ? ms(version.compromisedAt ?? at) : since('compromised', version.compromisedAt),
    destroyedAt: since('destroyed', version.destroyedAt),
    ...(change.erase ? { wrapped: null } : {}),
  };
}

/** At least the clock, so that a gateway restored from a backup is not below what devices hold; above `above`, too. */
export function raiseRevision(db: BetterSQLite3Database, name: KeySetName, at: Date, above = 0): void {
  db.update(keySets)
    .set({ revision: nextRevision(at, above) })
    .where(eq(keySets.name, name))
    .run();
}

export const nextRevision = (at: Date, above = 0): SQL =>
  sql`max(${keySets.revision} + 1, ${above + 1}, ${at.getTime()})`;

/** Stores the changes and makes the key set's devices due. Errors: `keyset.version-not-found`. */
export function changeVersions(
  db: BetterSQLite3Database,
  keySet: KeySetRecord,
  changes: readonly KeyVersionChange[],
  at: Date,
): void {
  for (const change of changes) {
    const version = keySet.versions.find((candidate) => candidate.version === change.version);
    if (version === undefined) {
      throw new CroupierError('keyset.version-not-found', `Key set ${keySet.name} has no version ${change.version}`);
    }
    db.update(keyVersions)
      .set(changedVersion(version, change, at))
      .where(and(eq(keyVersions.keySet, keySet.name), eq(keyVersions.version, change.version)))
      .run();
  }
  raiseDue(db, selectorCondition(keySet.selector), at);
}

export function keySetStore(context: StoreContext): KeySetStore {
  const { db, transactions } = context;
  const queries = keySetQueries(context);
  return {
    async keySets() {
      return transactions.read(() => queries.all());
    },

    async keySet(name) {
      return transactions.read(() => queries.one(name));
    },

    async noteOnce(key, what, audit, at) {
      const noted = { key: `noted:${key}`, value: what };
      // Nearly every call finds that it was said: it takes no write lock.
      const isSaid = (): boolean => db.select().from(meta).where(eq(meta.key, noted.key)).get()?.value === what;
      if (transactions.read(isSaid)) return false;
      return transactions.write((journal) => {
        if (isSaid()) return false;
        db.insert(meta).values(noted).onConflictDoUpdate({ target: meta.key, set: noted }).run();
        journal([audit], at);
        return true;
      });
    },
  };
}
