/** History of rollouts: steps of targets come from triggers, those of the rollout itself from audit records. */
import { and, asc, eq, gt, isNull, max, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { AuditEvent } from '#schema/audit.ts';
import { ApprovalId, DeviceId, RolloutId } from '#schema/ids.ts';
import { RolloutStepName, StepDetails, TargetWordName } from '#schema/rollout-history.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { rolloutHistory } from '#schema/tables.ts';
import { TARGET_STATES } from '#gateway/ports/store/records.ts';
import type { HistoryOf, HistoryStep } from '#gateway/ports/store/rollouts.ts';
import { stepOf, type EventStep } from '#gateway/rollout/history.ts';
import { Instant, jsonText, optional, reader } from './rows.ts';
import type { StoreContext } from './transaction.ts';

type Prepared = Pick<StoreContext, 'db' | 'statements'>;

const entry = { id: z.int(), rollout: RolloutId, at: Instant, code: optional(z.string()) };
const word = {
  by: z.string(),
  approval: optional(ApprovalId),
  approvedBy: jsonText.pipe(z.array(z.string())),
  reason: optional(z.string()),
};
const target = {
  ...entry,
  device: DeviceId,
  from: optional(z.enum(TARGET_STATES)),
  to: z.enum(TARGET_STATES),
};

const RolloutRow = z
  .object({ ...entry, ...word, device: z.null(), step: RolloutStepName, details: jsonText.pipe(StepDetails) })
  .transform(({ id, rollout, at, code, step, details, by, approval, approvedBy, reason }): HistoryStep => {
    return { kind: 'rollout', id, rollout, at, code, step, word: { by, approval, approvedBy, reason }, details };
  });
const MovedRow = z.object({ ...target, step: z.null() }).transform((row): HistoryStep => {
  const { id, rollout, at, code, device, from, to } = row;
  return { kind: 'target', id, rollout, at, code, device, from, to, word: undefined };
});
const SaidRow = z
  .object({ ...target, ...word, step: TargetWordName })
  .transform(({ step, by, approval, approvedBy, reason, ...moved }): HistoryStep => {
    return { kind: 'target', ...moved, word: { step, by, approval, approvedBy, reason } };
  });

/** The most frequent rows first: each is tried until one fits. */
const historyStep: (row: unknown) => HistoryStep = reader(z.union([MovedRow, SaidRow, RolloutRow]), 'rollout_history');

/** Adds the step that an event is, if it is one, in the transaction that records the event. */
export function stepNote({ db, statements }: Prepared): (event: AuditEvent, at: Date) => void {
  const slot = (name: string) => sql.placeholder(name);
  const insert = statements.change(
    db.insert(rolloutHistory).values({
      rollout: slot('rollout'),
      at: slot('at'),
      step: slot('step'),
      code: slot('code'),
      by: slot('by'),
      approval: slot('approval'),
      approvedBy: slot('approvedBy'),
      reason: slot('reason'),
      details: slot('details'),
    }),
  );
  return (event, at) => {
    const step = stepOf(event);
    if (step === undefined) return;
    const { rollout, code = null, details } = step;
    insert({ rollout, at: at.getTime(), code, ...wordColumns(step), details: canonicalJson(details) });
  };
}

const wordColumns = ({ step, by, approval, approvedBy, reason }: EventStep) => ({
  step,
  by,
  approval: approval ?? null,
  approvedBy: canonicalJson(approvedBy),
  reason: reason ?? null,
});

/** The step that was noted last; steps after it are of what is done since. */
export function lastStep({ db }: Prepared): number {
  return (
    db
      .select({ id: max(rolloutHistory.id) })
      .from(rolloutHistory)
      .get()?.id ?? 0
  );
}

/** What the triggers noted of targets since the step `last` was done on the word of these events. */
export function noteWord({ db }: Prepared, last: number, events: readonly AuditEvent[], at: Date): void {
  for (const event of events) {
    const step = stepOf(event);
    if (step === undefined) continue;
    db.update(rolloutHistory)
      .set({ ...wordColumns(step), at: at.getTime() })
      .where(and(gt(rolloutHistory.id, last), eq(rolloutHistory.rollout, step.rollout)))
      .run();
  }
}

/** Steps after the one of the id `after`, ascending. */
export function historyOf({ db }: Prepared, of: HistoryOf, after: number, limit: number): readonly HistoryStep[] {
  const isWanted = [
    'rollout' in of ? eq(rolloutHistory.rollout, of.rollout) : undefined,
    'device' in of ? eq(rolloutHistory.device, of.device) : undefined,
    'steps' in of && of.steps === 'rollout' ? isNull(rolloutHistory.device) : undefined,
  ];
  return db
    .select()
    .from(rolloutHistory)
    .where(and(...isWanted, gt(rolloutHistory.id, after)))
    .orderBy(asc(rolloutHistory.id))
    .limit(limit)
    .all()
    .map(historyStep);
}
