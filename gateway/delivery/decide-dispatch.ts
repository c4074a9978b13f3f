/** What to send to a connected device that is due. Pure. */
import type { DeliveryState, DispatchOutcome, PlannedUpdate, TargetMove } from '#gateway/ports/store/delivery.ts';
import type { RolloutRecord, TargetState } from '#gateway/ports/store/records.ts';
import type { Policy } from '#schema/policy.ts';
import { answerBy, givenUp, isLate } from '#gateway/rollout/unanswered.ts';
import { waveOfLatecomer } from '#gateway/rollout/waves.ts';
import { resendDelay, spreadOf } from './backoff.ts';
import { desiredRenewal, desiredTrust, isReplacedBy, keyringDifferences, sooner, type Moment } from './desired.ts';

/** A target that was not there when the rollout began: the device enrolled, or came among its devices, afterwards. */
export function latecomer(rollout: RolloutRecord, { device }: Pick<DeliveryState, 'device'>, now: Date): TargetMove {
  return {
    rollout: rollout.id,
    wave: waveOfLatecomer(rollout.plan, device),
    position: 0,
    service: device.class === 'service',
    state: 'pending',
    code: undefined,
    deferredUntil: undefined,
    offeredAt: undefined,
    attempts: 0,
    changedAt: now,
  };
}

/** Whether the device belongs to the rollout, even if it came later. */
export function concerns(rollout: RolloutRecord, { identity }: Pick<DeliveryState, 'identity'>): boolean {
  return rollout.kind !== 're-enrolment' || (identity !== undefined && isReplacedBy(rollout.campaign, identity));
}

/** Nothing moves the target any more: people left it out, or it has come to the end of its path. */
export function isClosed({ kind }: RolloutRecord, state: TargetState): boolean {
  if (state === 'exempt' || state === 'superseded' || state === 'quarantined') return true;
  return state === (kind === 'key-version' ? 'old-destroyed' : 'active');
}

/** Whether the update asks the device for what the rollout is about. */
function carries(rollout: RolloutRecord, update: PlannedUpdate): boolean {
  switch (rollout.kind) {
    case 'key-version':
      return update.keyrings.some(
        ({ keySet, accept, active }) =>
          keySet.name === rollout.keySet && (accept.includes(rollout.toVersion) || active === rollout.toVersion),
      );
    case 'trust-bundle':
      return update.trustFrom < rollout.toVersion && update.trustVersion >= rollout.toVersion;
    case 're-enrolment':
      return update.renew?.reason === rollout.campaign.reason;
  }
}

/**
 * How a target that the update is about, once more, stands with it. Reports that leave the change unanswered do not
 * lengthen its time; coming back does (`decideReport` begins it anew).
 */
function asked(rollout: RolloutRecord, target: TargetMove, now: Date): TargetMove {
  const attempts = target.attempts + 1;
  if (target.state === 'pending') return { ...target, state: 'offered', offeredAt: now, attempts, changedAt: now };
  if (target.state !== 'offered' && target.state !== 'stored') return { ...target, attempts };
  if (target.state === 'stored' && answerBy(rollout, target) === undefined) return target;
  const isInVain = target.attempts > rollout.plan.retries && target.deferredUntil === undefined;
  return isInVain && isLate(rollout, target, now)
    ? { ...target, ...givenUp(target.state, target.code ?? 'network.timeout'), attempts, changedAt: now }
    : { ...target, attempts };
}

function targetMoves(state: DeliveryState, update: PlannedUpdate, now: Date): readonly TargetMove[] {
  const moves: TargetMove[] = [];
  for (const { rollout, target } of state.rollouts) {
    if (!carries(rollout, update)) continue;
    const before = target ?? (concerns(rollout, state) ? latecomer(rollout, state, now) : undefined);
    if (before === undefined || isClosed(rollout, before.state)) continue;
    const after = asked(rollout, before, now);
    if (after !== target) moves.push(after);
  }
  return moves;
}

/**
 * A device that has just connected reports by itself. What it proved before it went away is no ground for an update
 * that its report would have to be answered with once more; only should that report get lost, it has to do.
 */
function reportAwaitedUntil({ sync }: DeliveryState, policy: Policy['delivery']): Date | undefined {
  const { lastSeenAt, lastReportAt } = sync;
  if (lastSeenAt === undefined || lastReportAt === undefined || lastSeenAt <= lastReportAt) return undefined;
  return new Date(lastSeenAt.getTime() + policy.resendAfter);
}

/**
 * The one update that closes the difference between desired and reported, or nothing. A device in quarantine, revoked
 * or without an identity gets nothing (I9).
 */
export function decideDispatch(state: DeliveryState, moment: Moment, policy: Policy['delivery']): DispatchOutcome {
  const { device, sync, identity } = state;
  const { now } = moment;
  const idle: DispatchOutcome = { kind: 'settle', dueAt: undefined, attempts: 0, targets: [] };
  if (device.state.kind !== 'enrolled' || identity === undefined || identity.state !== 'issued' || !sync.connected)
    return idle;
  // A device that never reported tells nothing yet: its first report comes by itself when it connects.
  if (sync.nonce === undefined) return idle;
  const reportBy = reportAwaitedUntil(state, policy);
  if (reportBy !== undefined && reportBy > now) return { ...idle, dueAt: reportBy, attempts: sync.attempts };

  const { keyrings, opensAt } = keyringDifferences(state, moment);
  const renewal = desiredRenewal(state, moment);
  const trust = desiredTrust(state, moment);
  const opens = sooner(opensAt, sooner(renewal.opensAt, trust.opensAt));
  const behind = sync.trustVersion < trust.version;
  const needsTime = !sync.clockTrusted && !sync.nonceAnswered;
  if (keyrings.length === 0 && renewal.renew === undefined && !behind && !needsTime) return { ...idle, dueAt: opens };

  const update: PlannedUpdate = {
    device,
    identity,
    seq: Math.max(now.getTime(), sync.seq + 1, sync.lastSeq + 1),
    nonce: sync.nonceAnswered ? undefined : sync.nonce,
    trustVersion: trust.version,
    trustFrom: sync.trustVersion,
    keyrings,
    renew: renewal.renew,
  };
  const attempts = sync.attempts + 1;
  const again = new Date(now.getTime() + resendDelay(sync.attempts, policy, spreadOf(device.id, attempts)));
  return {
    kind: 'send',
    update,
    dueAt: sooner(again, opens) ?? again,
    attempts,
    targets: targetMoves(state, update, now),
  };
}
