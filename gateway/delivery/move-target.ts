/** Where a report moves a rollout's target. Pure. */
import type { Report } from '#schema/messages/report.ts';
import type { DeliveryState, TargetMove, VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type {
  DeviceKeyVersion,
  KeySetRecord,
  KeyVersionRollout,
  RolloutRecord,
  TargetState,
} from '#gateway/ports/store/records.ts';
import { concerns, isClosed, latecomer } from './decide-dispatch.ts';
import { isReplacedBy, rowOf } from './desired.ts';

const RANK: Readonly<Record<TargetState, number>> = {
  pending: 0,
  offered: 1,
  stalled: 1,
  refused: 1,
  stored: 2,
  overdue: 2,
  active: 3,
  'old-retired': 4,
  'old-destroyed': 5,
  superseded: 6,
  exempt: 7,
  quarantined: 0,
};

/** State of a target as the device's own proofs show it. */
function provedState(rollout: RolloutRecord, from: TargetState, proved: ProvedNow): TargetState | undefined {
  switch (rollout.kind) {
    case 'key-version':
      return provedVersion(rollout, proved.rows);
    case 'trust-bundle':
      return proved.report.trustVersion >= rollout.toVersion ? 'active' : undefined;
    case 're-enrolment':
      if (!isReplacedBy(rollout.campaign, proved.certificate)) return 'active';
      // Agreed only if it was asked: what it applied last may have been about something else.
      return proved.agreesToRenew && from !== 'pending' ? 'stored' : undefined;
  }
}

function provedVersion(rollout: KeyVersionRollout, rows: readonly DeviceKeyVersion[]): TargetState | undefined {
  const now = rowOf(rows, rollout.keySet, rollout.toVersion)?.state;
  if (now === 'stored') return 'stored';
  if (now !== 'active') return undefined;
  let retired = 0;
  let destroyed = 0;
  for (const { keySet, version, state } of rows) {
    if (keySet !== rollout.keySet || version >= rollout.toVersion || state === 'offered') continue;
    if (state === 'destroyed') destroyed += 1;
    else if (state === 'retired') retired += 1;
    else return 'active';
  }
  if (retired > 0) return 'old-retired';
  return destroyed > 0 ? 'old-destroyed' : 'active';
}

/**
 * Whether the rollout's version is no longer the newest: a device that did not reach it goes straight to the newer one.
 */
function isOvertaken(
  rollout: RolloutRecord,
  keySets: readonly KeySetRecord[],
  rows: readonly DeviceKeyVersion[],
): boolean {
  if (rollout.kind !== 'key-version') return false;
  const isBeyond = rows.some(
    ({ keySet: name, version, state }) => name === rollout.keySet && state === 'active' && version > rollout.toVersion,
  );
  if (isBeyond) return true;
  const keySet = keySets.find((entry) => entry.name === rollout.keySet);
  const version = keySet?.versions.find((entry) => entry.version === rollout.toVersion);
  return version !== undefined && version.state !== 'pre-activation' && version.state !== 'active';
}

type Result = Report['results'][number];

/** What the report shows, for the rollouts. */
export interface ProvedNow {
  readonly report: Report;
  readonly rows: readonly DeviceKeyVersion[];
  readonly certificate: VerifiedReport['certificate'];
  /** The device has applied the update that asked it to renew. */
  readonly agreesToRenew: boolean;
  /** What has become of the latest update, or of the latest that the device knows. */
  readonly latest: Result | undefined;
  /** It is the first report of a connection. */
  readonly isBack: boolean;
  readonly at: Date;
}

/**
 * Why a device refused the last thing that came to it, if nothing in that could be believed, not even its number. Anybody
 * who owns the broker can bring that about, so it moves no target; it only tells what keeps one that does not answer.
 */
function unbelieved({ results }: Report): string | undefined {
  const last = results.at(-1);
  return last?.seq === 0 && last.outcome === 'refused' ? last.code : undefined;
}

/** Where a target is after the report, and why. */
function nextStanding(
  rollout: RolloutRecord,
  { state: from, code: before }: Pick<TargetMove, 'state' | 'code'>,
  latest: Result | undefined,
  { proved, overtaken, unread }: { proved: TargetState | undefined; overtaken: boolean; unread: string | undefined },
): { readonly state: TargetState; readonly code: string | undefined } {
  const isDeferred = latest?.outcome === 'deferred';
  let state: TargetState = from;
  // What was not asked for was not refused either, whatever became of the update.
  const isAwaited = RANK[from] === RANK.offered;
  let code = isAwaited ? (unread ?? before) : undefined;
  if (proved !== undefined && RANK[proved] > RANK[from]) {
    state = proved;
    code = undefined;
  } else if (proved === 'stored' && from === 'overdue') {
    if (isDeferred) state = 'stored';
    else code = 'rollout.activation-overdue';
  } else if (proved === undefined && isAwaited && latest?.outcome === 'refused') {
    state = 'refused';
    ({ code } = latest);
  }
  if (RANK[state] < RANK.active && overtaken) return { state: 'superseded', code: undefined };
  if (state === 'stored' && rollout.kind === 'key-version' && latest?.outcome !== 'applied') code = latest?.code;
  return { state, code };
}

export function moveTarget(
  entry: DeliveryState['rollouts'][number],
  state: DeliveryState,
  proved: ProvedNow,
): TargetMove | undefined {
  const { rollout, target } = entry;
  const { report, latest } = proved;
  // Until all targets are recorded nobody is late: a place taken before would not be the one of the plan.
  if (target === undefined && (rollout.preparedAt === undefined || !concerns(rollout, state))) return undefined;
  if (target !== undefined && isClosed(rollout, target.state)) return undefined;
  const before: TargetMove = target ?? latecomer(rollout, state, proved.at);
  const overtaken = isOvertaken(rollout, state.keySets, proved.rows);
  const shown = provedState(rollout, before.state, proved);
  const next = nextStanding(rollout, before, latest, { proved: shown, overtaken, unread: unbelieved(report) });
  const isDeferred = next.state === 'stored' && rollout.kind === 'key-version' && latest?.outcome === 'deferred';
  const deferredUntil = isDeferred && latest.until !== undefined ? new Date(latest.until) : undefined;
  const sameState = next.state === before.state;
  // What it was asked before it went away, it could not answer: its time begins anew.
  const isAskedAnew =
    proved.isBack &&
    sameState &&
    (before.state === 'offered' || (before.state === 'stored' && rollout.kind === 'key-version'));
  const same =
    target !== undefined &&
    sameState &&
    !isAskedAnew &&
    next.code === before.code &&
    deferredUntil?.getTime() === before.deferredUntil?.getTime();
  if (same) return undefined;
  return {
    ...before,
    ...next,
    deferredUntil,
    offeredAt: isAskedAnew ? proved.at : before.offeredAt,
    attempts: sameState && !isAskedAnew ? before.attempts : 0,
    changedAt: sameState ? before.changedAt : proved.at,
  };
}
