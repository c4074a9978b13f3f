/** Key sets with their versions, and rollouts: few rows that many decisions look at. */
import { and, asc, desc, eq, isNull, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { KeySetName } from '#schema/ids.ts';
import { keySets, keyVersions, rollouts } from '#schema/tables.ts';
import type { KeySetRecord, KeyVersionRecord, RolloutRecord } from '#gateway/ports/store/records.ts';
import { blob, keySetHead, keyVersionRecord, ms, rolloutRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';

export interface KeySetQueries {
  all(): readonly KeySetRecord[];
  one(name: KeySetName): KeySetRecord | undefined;
  /** Rollouts that have not ended, oldest first. */
  open(): readonly RolloutRecord[];
}

export function keySetQueries({ db, statements }: Pick<StoreContext, 'db' | 'statements'>): KeySetQueries {
  const [headRow] = layout(keySets);
  const [versionRow] = layout(keyVersions);
  const [rolloutRow] = layout(rollouts);
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
  const open = statements.all(
    db.select().from(rollouts).where(isNull(rollouts.finishedAt)).orderBy(asc(rollouts.createdAt)),
    (row) => rolloutRecord(rolloutRow(row)),
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
    open: () => open(),
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
      destroyedAt: ms(version.destroyedAt),
    })
    .run();
}

export function insertRollout(db: BetterSQLite3Database, rollout: RolloutRecord): void {
  db.insert(rollouts)
    .values({
      ...rollout,
      createdAt: rollout.createdAt.getTime(),
      activatedAt: ms(rollout.activatedAt),
      retiredAt: ms(rollout.retiredAt),
      finishedAt: ms(rollout.finishedAt),
    })
    .run();
}

export function openRolloutsOf(db: BetterSQLite3Database, keySet: KeySetName): readonly RolloutRecord[] {
  return db
    .select()
    .from(rollouts)
    .where(and(eq(rollouts.keySet, keySet), isNull(rollouts.finishedAt)))
    .orderBy(desc(rollouts.createdAt))
    .all()
    .map(rolloutRecord);
}
