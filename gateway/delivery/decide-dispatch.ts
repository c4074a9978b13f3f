/** What to send to a connected device that is due. Pure. */
import type { DeliveryState, DispatchOutcome, PlannedUpdate, TargetMove } from '#gateway/ports/store/delivery.ts';
import type { RolloutTarget } from '#gateway/ports/store/records.ts';
import type { Policy } from '#schema/policy.ts';
import { resendDelay, spreadOf } from './backoff.ts';
import { keyringDifferences } from './desired.ts';

/** A certificate this far into its life is asked for by the gateway too, in case the agent's own timer failed. */
const RENEW_REMINDER = 0.9;

function moved(target: RolloutTarget, state: RolloutTarget['state'], code?: string): TargetMove {
  return { rollout: target.rollout, state, wave: target.wave, code, deferredUntil: target.deferredUntil };
}

/** Targets whose version is in this update become offered; those that stay silent too long are stalled. */
function targetMoves(
  state: DeliveryState,
  update: PlannedUpdate,
  now: Date,
  stallAfter: number,
): readonly TargetMove[] {
  const moves: TargetMove[] = [];
  for (const { rollout, target } of state.rollouts) {
    if (target === undefined) continue;
    const offers = update.keyrings.some(
      (ring) => ring.keySet.name === rollout.keySet && ring.deliver.includes(rollout.toVersion),
    );
    if (offers && target.state === 'pending') moves.push(moved(target, 'offered'));
    const silent =
      target.state === 'offered' &&
      target.offeredAt !== undefined &&
      now.getTime() - target.offeredAt.getTime() > stallAfter;
    if (silent) moves.push(moved(target, 'stalled', 'network.timeout'));
  }
  return moves;
}

function renewal(state: DeliveryState, now: Date): PlannedUpdate['renew'] {
  const { identity } = state;
  if (identity === undefined) return undefined;
  const from = identity.notBefore.getTime();
  const to = identity.notAfter.getTime();
  return now.getTime() > from + (to - from) * RENEW_REMINDER
    ? { by: identity.notAfter, reason: 'expiring' }
    : undefined;
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
export function decideDispatch(state: DeliveryState, now: Date, policy: Policy['delivery']): DispatchOutcome {
  const { device, sync, identity } = state;
  const idle: DispatchOutcome = { kind: 'settle', dueAt: undefined, attempts: 0, targets: [] };
  if (device.state.kind !== 'enrolled' || identity === undefined || identity.state !== 'issued' || !sync.connected)
    return idle;
  // A device that never reported tells nothing yet: its first report comes by itself when it connects.
  if (sync.nonce === undefined) return idle;
  const reportBy = reportAwaitedUntil(state, policy);
  if (reportBy !== undefined && reportBy > now) return { ...idle, dueAt: reportBy, attempts: sync.attempts };

  const keyrings = keyringDifferences(state);
  const renew = renewal(state, now);
  const behind = sync.trustVersion < state.trustLatest;
  const needsTime = !sync.clockTrusted && !sync.nonceAnswered;
  if (keyrings.length === 0 && renew === undefined && !behind && !needsTime) return idle;

  const update: PlannedUpdate = {
    device,
    identity,
    seq: Math.max(now.getTime(), sync.seq + 1, sync.lastSeq + 1),
    nonce: sync.nonceAnswered ? undefined : sync.nonce,
    trustVersion: state.trustLatest,
    trustFrom: sync.trustVersion,
    keyrings,
    renew,
  };
  const attempts = sync.attempts + 1;
  return {
    kind: 'send',
    update,
    dueAt: new Date(now.getTime() + resendDelay(sync.attempts, policy, spreadOf(device.id, attempts))),
    attempts,
    targets: targetMoves(state, update, now, policy.stallAfter),
  };
}
