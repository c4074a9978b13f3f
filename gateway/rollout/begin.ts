/** A rollout at its beginning, whatever it carries. Pure. */
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import type { RolloutId, Sha256 } from '#schema/ids.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { StartOutcome } from '#gateway/ports/store/rollouts.ts';
import type { RolloutChange, RolloutRecord, RolloutState } from '#gateway/ports/store/records.ts';

/** What every start brings along. */
export interface StartTerms {
  readonly rollout: RolloutId;
  readonly plan: RolloutPlan;
  readonly planSha256: Sha256;
  /** Nothing is sent before. */
  readonly startAt: Date;
  readonly actor: AuditActor;
  readonly approval: AuditEvent['approval'];
  /** Why it was asked for, where that was said. */
  readonly reason?: string | undefined;
  readonly at: Date;
}

/** What the record of its start says of a rollout. */
export function startDetails(
  terms: Pick<StartTerms, 'rollout' | 'plan' | 'planSha256' | 'startAt' | 'reason'>,
): NonNullable<AuditEvent['details']> {
  const { rollout, plan, planSha256, startAt, reason } = terms;
  return {
    rollout,
    plan: plan.name,
    planSha256,
    startAt: startAt.toISOString(),
    ...(reason === undefined ? {} : { reason }),
  };
}

/** The new rollout: approved, its targets not recorded yet. */
export function newRollout(change: RolloutChange, terms: StartTerms): RolloutRecord {
  return {
    ...change,
    id: terms.rollout,
    plan: terms.plan,
    planSha256: terms.planSha256,
    state: 'approved',
    startAt: terms.startAt,
    preparedAt: undefined,
    wave: 0,
    waveOpenedAt: undefined,
    waveSettledAt: undefined,
    pause: undefined,
    stragglersAt: undefined,
    requestedBy: terms.actor.id,
    createdAt: terms.at,
    activatedAt: undefined,
    retiredAt: undefined,
    finishedAt: undefined,
  };
}

export function refuseStart(
  action: string,
  object: NonNullable<AuditEvent['object']>,
  terms: StartTerms,
  code: ErrorCode,
  message: string,
  detail?: Readonly<Record<string, string>>,
): StartOutcome {
  const error = new CroupierError(code, message, detail === undefined ? {} : { detail });
  return {
    kind: 'refuse',
    error,
    audit: [{ action, outcome: 'denied', code, actor: terms.actor, object }],
  };
}

/** A rollout that another one ends before its time. */
export function ended(
  rollout: RolloutRecord,
  state: Extract<RolloutState, 'superseded' | 'compromised'>,
  at: Date,
): RolloutRecord {
  return { ...rollout, state, finishedAt: at };
}

/** Whether it has not brought its change into use yet. */
export function isOnItsWay({ state }: Pick<RolloutRecord, 'state'>): boolean {
  return state === 'approved' || state === 'distributing' || state === 'ready';
}
