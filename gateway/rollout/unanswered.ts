/**
 * Targets that were asked for something and do not answer. Pure. One that is there is asked again until its attempts are
 * used up; one that has left since may have been taken down by the change itself, so that its time ends, too.
 */
import type { TargetsOutcome } from '#gateway/ports/store/rollouts.ts';
import type { RolloutRecord, RolloutTarget, TargetState } from '#gateway/ports/store/records.ts';

type Asked = Pick<RolloutTarget, 'state' | 'offeredAt' | 'changedAt'>;

/** States in which nothing was heard of the change yet. */
export const UNANSWERED: readonly TargetState[] = ['pending', 'offered'];

/** States in which an answer is awaited; a target that is not there has left since. */
export const askedStates = (kind: RolloutRecord['kind']): readonly TargetState[] =>
  kind === 're-enrolment' ? ['offered', 'stored'] : ['offered'];

/** What has become of a target that did not answer in time. */
export interface GivenUp {
  readonly state: TargetState;
  readonly code: string;
}

/**
 * Since when the target owes an answer, in milliseconds since 1970; undefined if it owes none. Whoever resumes a rollout
 * opens its wave anew, and gives everybody the whole time once more.
 */
function askedSince(rollout: RolloutRecord, { state, offeredAt, changedAt }: Asked): number | undefined {
  const asked = Math.max(offeredAt?.getTime() ?? 0, rollout.waveOpenedAt?.getTime() ?? 0);
  if (state === 'offered') return asked;
  const asksForUse = rollout.kind === 're-enrolment' || rollout.activatedAt !== undefined;
  if (state !== 'stored' || !asksForUse) return undefined;
  return Math.max(asked, rollout.activatedAt?.getTime() ?? 0, changedAt.getTime());
}

/** When the time ends that the plan gives the target to answer, in milliseconds since 1970; undefined if it owes no answer. */
export function answerBy(rollout: RolloutRecord, target: Asked): number | undefined {
  const since = askedSince(rollout, target);
  return since === undefined ? undefined : since + rollout.plan.timeoutMs;
}

export const isLate = (rollout: RolloutRecord, target: Asked, now: Date): boolean =>
  (answerBy(rollout, target) ?? Infinity) < now.getTime();

/** A target beyond its time: it stored the change and does not use it, or never said anything. `code`: why, if it told. */
export function givenUp(state: TargetState, code: string): GivenUp {
  return state === 'stored' ? { state: 'overdue', code: 'rollout.activation-overdue' } : { state: 'stalled', code };
}

/** Whether the rollout judges who has left: while its waves are open. */
export const judgesAbsence = ({ state, pause }: RolloutRecord): boolean =>
  state === 'distributing' && pause === undefined;

/** Gives up those of the targets, none of which is connected, whose time has ended. They take the change when they return. */
export function decideVanished(
  rollout: RolloutRecord | undefined,
  targets: readonly RolloutTarget[],
  now: Date,
): TargetsOutcome {
  if (rollout === undefined || !judgesAbsence(rollout)) return { kind: 'change', targets: [], audit: [] };
  const late = targets.filter((target) => isLate(rollout, target, now));
  return {
    kind: 'change',
    targets: late.map(({ device, state, code, reason, signedOff }) => ({
      device,
      ...givenUp(state, code ?? 'rollout.device-vanished'),
      reason,
      signedOff,
    })),
    audit: [],
  };
}
