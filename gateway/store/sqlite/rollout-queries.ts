/** Rollouts and their counts: a few rows each, whatever the number of targets. */
import { and, asc, eq, gt, isNull, sql } from 'drizzle-orm';
import type { RolloutId } from '#schema/ids.ts';
import { rollouts, rolloutTallies } from '#schema/tables.ts';
import type { RolloutRecord, TargetTally } from '#gateway/ports/store/records.ts';
import { rolloutRecord, targetTally } from './rollout-rows.ts';
import { layout } from './statement.ts';
import type { StoreContext } from './transaction.ts';

export interface RolloutQueries {
  /** Rollouts that have not ended, oldest first. */
  open(): readonly RolloutRecord[];
  one(id: RolloutId): RolloutRecord | undefined;
  tallies(id: RolloutId): readonly TargetTally[];
}

export function rolloutQueries({ db, statements }: Pick<StoreContext, 'db' | 'statements'>): RolloutQueries {
  const [rolloutRow] = layout(rollouts);
  const [tallyRow] = layout(rolloutTallies);
  const open = statements.all(
    db.select().from(rollouts).where(isNull(rollouts.finishedAt)).orderBy(asc(rollouts.createdAt), asc(rollouts.id)),
    (row) => rolloutRecord(rolloutRow(row)),
  );
  const one = statements.first(
    db
      .select()
      .from(rollouts)
      .where(eq(rollouts.id, sql.placeholder('id'))),
    (row) => rolloutRecord(rolloutRow(row)),
  );
  const tallies = statements.all(
    db
      .select()
      .from(rolloutTallies)
      .where(and(eq(rolloutTallies.rollout, sql.placeholder('id')), gt(rolloutTallies.targets, 0))),
    (row) => targetTally(tallyRow(row)),
  );
  return {
    open: () => open(),
    one: (id) => one({ id }),
    tallies: (id) => tallies({ id }),
  };
}
