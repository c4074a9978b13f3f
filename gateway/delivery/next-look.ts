/** When the dispatcher looks at a device next, after its report. Pure. */
import type { Report } from '#schema/messages/report.ts';
import type { DeliveryState, TargetMove } from '#gateway/ports/store/delivery.ts';
import type { DeviceKeyVersion } from '#gateway/ports/store/records.ts';
import type { Policy } from '#schema/policy.ts';
import { resendDelay, spreadOf } from './backoff.ts';
import { desiredRenewal, desiredTrust, keyringDifferences, sooner, type Moment } from './desired.ts';

export function isFirstOfConnection(
  { boots, lastSeenAt, lastReportAt }: DeliveryState['sync'],
  report: Report,
): boolean {
  const hasConnected = lastSeenAt !== undefined && lastReportAt !== undefined && lastSeenAt > lastReportAt;
  return boots[0] !== report.bootId || hasConnected;
}

/**
 * Whether the latest update is still on its way behind something older that the report answers: a trust link, or an
 * update sent before. If each such answer were answered at once, updates and reports would chase each other for ever.
 */
function isLatestUnderWay({ sync }: DeliveryState, report: Report, now: Date): boolean {
  const { attempts, dueAt } = sync;
  const isAwaited = attempts > 0 && dueAt !== undefined && dueAt > now;
  const isSameConnection = !isFirstOfConnection(sync, report);
  const answersOlder =
    report.trustVersion > sync.trustVersion ||
    report.lastSeq > sync.lastSeq ||
    report.results.some(({ seq }) => seq > sync.lastSeq && seq < sync.seq);
  return isAwaited && isSameConnection && answersOlder;
}

/** What the device holds and what it was asked, after the report. */
export interface Afterwards {
  readonly state: DeliveryState;
  readonly report: Report;
  readonly rows: readonly DeviceKeyVersion[];
  readonly targets: readonly TargetMove[];
  readonly proved: boolean;
}

function withMoved({ device, rollouts }: DeliveryState, targets: readonly TargetMove[]): DeliveryState['rollouts'] {
  if (targets.length === 0) return rollouts;
  return rollouts.map((entry) => {
    const moved = targets.find(({ rollout }) => rollout === entry.rollout.id);
    if (moved === undefined) return entry;
    const target = entry.target ?? {
      ...moved,
      device: device.id,
      reason: undefined,
      old: 'gone',
      signedOff: undefined,
    };
    return { ...entry, target: { ...target, ...moved } };
  });
}

/** When the dispatcher looks at the device next. */
export function due(
  { state, report, rows, targets, proved }: Afterwards,
  moment: Moment,
  policy: Policy['delivery'],
): { readonly dueAt: Date | undefined; readonly attempts: number } {
  const { now } = moment;
  const rollouts = withMoved(state, targets);
  const { device, identity, keySets, trustReleased } = state;
  const after = { device, identity, keySets, trustReleased, versions: rows, rollouts };
  const { keyrings, opensAt } = keyringDifferences(after, moment);
  const trust = desiredTrust(after, moment);
  const renewal = desiredRenewal(after, moment);
  const asksToRenew = renewal.renew !== undefined && renewal.renew.reason !== 'expiring';
  const opens = sooner(opensAt, sooner(trust.opensAt, renewal.opensAt));
  const differs = keyrings.length > 0 || report.trustVersion < trust.version || asksToRenew;
  if (!differs && report.clock.trusted) return { dueAt: opens, attempts: 0 };
  const answersLatest =
    report.lastSeq === state.sync.seq || report.results.some((result) => result.seq === state.sync.seq);
  if (!answersLatest && isLatestUnderWay(state, report, now)) {
    const soonest = now.getTime() + resendDelay(0, policy, spreadOf(report.device, 0));
    return {
      dueAt: new Date(Math.min(soonest, state.sync.dueAt?.getTime() ?? soonest)),
      attempts: state.sync.attempts,
    };
  }
  // A process that has just started knows no time, and what its predecessor was asked in vain says nothing about it.
  const begins = state.sync.boots[0] !== report.bootId;
  const progressed = proved || begins || report.trustVersion > state.sync.trustVersion;
  if (progressed || !answersLatest) return { dueAt: now, attempts: 0 };
  // A device that was away may confirm only now what was sent before it left: then the difference is news to it. One
  // attempt more, so that a device that confirms and yet never holds what it should is not asked without end.
  const isUnwilling = report.results.some((result) => result.seq === state.sync.seq && result.outcome !== 'applied');
  if (!isUnwilling && state.sync.attempts <= 1) return { dueAt: now, attempts: state.sync.attempts };
  // The device has seen the latest update and the difference stays: it refused or deferred, so asking again at once is useless.
  const until = report.results.find((result) => result.outcome === 'deferred')?.until;
  const wait = resendDelay(state.sync.attempts, policy, spreadOf(report.device, state.sync.attempts));
  const at = new Date(Math.max(now.getTime() + wait, until === undefined ? 0 : new Date(until).getTime()));
  return { dueAt: sooner(at, opens), attempts: state.sync.attempts };
}
