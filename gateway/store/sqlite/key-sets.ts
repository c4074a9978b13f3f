/** Key sets with their versions, and rollouts: few rows that many decisions look at. */
import { and, asc, desc, eq, isNull } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { KeySetName } from '#schema/ids.ts';
import { keySets, keyVersions, rollouts } from '#schema/tables.ts';
import type { KeySetRecord, KeyVersionRecord, RolloutRecord } from '#gateway/ports/store/records.ts';
import { blob, keySetHead, keyVersionRecord, ms, rolloutRecord } from './rows.ts';

export interface KeySetQueries {
  all(): readonly KeySetRecord[];
  one(name: KeySetName): KeySetRecord | undefined;
  /** Rollouts that have not ended, oldest first. */
  open(): readonly RolloutRecord[];
}

export function keySetQueries(db: BetterSQLite3Database): KeySetQueries {
  const heads = db.select().from(keySets).orderBy(asc(keySets.name)).prepare();
  const versions = db.select().from(keyVersions).orderBy(asc(keyVersions.keySet), asc(keyVersions.version)).prepare();
  const open = db.select().from(rollouts).where(isNull(rollouts.finishedAt)).orderBy(asc(rollouts.createdAt)).prepare();
  return {
    all() {
      const byName = Map.groupBy(versions.all().map(keyVersionRecord), (version) => version.keySet);
      return heads.all().map((row) => {
        const head = keySetHead(row);
        return { ...head, versions: byName.get(head.name) ?? [] };
      });
    },
    one(name) {
      const row = db.select().from(keySets).where(eq(keySets.name, name)).get();
      if (row === undefined) return undefined;
      const ofSet = db
        .select()
        .from(keyVersions)
        .where(eq(keyVersions.keySet, name))
        .orderBy(asc(keyVersions.version))
        .all();
      return { ...keySetHead(row), versions: ofSet.map(keyVersionRecord) };
    },
    open: () => open.all().map(rolloutRecord),
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
