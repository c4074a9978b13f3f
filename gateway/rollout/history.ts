/**
 * What audit events say of a rollout, as a step of its history. Pure: the store derives the steps while it writes the
 * trail, in the same transaction, so that neither has what the other lacks.
 */
import type { AuditEvent } from '#schema/audit.ts';
import { RolloutId } from '#schema/ids.ts';
import type { RolloutStepName, StepDetails } from '#schema/rollout-history.ts';

/** A step as an event has it. */
export interface EventStep {
  readonly rollout: RolloutId;
  readonly step: RolloutStepName;
  readonly code: string | undefined;
  readonly by: string;
  readonly approval: string | undefined;
  readonly approvedBy: readonly string[];
  readonly reason: string | undefined;
  readonly details: StepDetails;
}

const STEP_OF: ReadonlyMap<string, RolloutStepName> = new Map<string, RolloutStepName>([
  ['keyset.rotate', 'started'],
  ['keyset.compromise', 'started'],
  ['trust.publish', 'started'],
  ['enrolment.campaign', 'started'],
  ['rollout.prepare', 'prepared'],
  ['rollout.distributing', 'distributing'],
  ['rollout.wave-soaks', 'wave-soaking'],
  ['rollout.wave-opened', 'wave-opened'],
  ['rollout.ready', 'ready'],
  ['rollout.active', 'active'],
  ['rollout.pause', 'paused'],
  ['rollout.resume', 'resumed'],
  ['rollout.retry', 'retried'],
  ['rollout.exempt', 'exempted'],
  ['rollout.sign-off', 'signed-off'],
  ['rollout.stragglers', 'stragglers'],
  ['rollout.retiring', 'retiring'],
  ['rollout.retired', 'retired'],
  ['rollout.destroying', 'destroying'],
  ['rollout.destroyed', 'destroyed'],
  ['rollout.completed', 'completed'],
  ['rollout.aborted', 'aborted'],
  ['rollout.superseded', 'superseded'],
  ['rollout.compromised', 'compromised'],
]);

/** The rollout that an event is about, or that it names in its details. */
function rolloutOf({ object, details }: AuditEvent): RolloutId | undefined {
  return RolloutId.safeParse(object?.type === 'rollout' ? object.id : details?.['rollout']).data;
}

/** The step that an event is, if it is one. What was refused is none: it changed nothing. */
export function stepOf(event: AuditEvent): EventStep | undefined {
  const step = STEP_OF.get(event.action);
  const rollout = step === undefined || event.outcome !== 'success' ? undefined : rolloutOf(event);
  if (step === undefined || rollout === undefined) return undefined;
  const { actor, code, approval } = event;
  const { rollout: _, reason, ...details } = event.details ?? {};
  return {
    rollout,
    step,
    code,
    by: actor.type === 'gateway' ? 'the gateway' : actor.id,
    approval: approval?.id,
    approvedBy: approval?.approvers ?? [],
    reason: typeof reason === 'string' ? reason : undefined,
    details,
  };
}
