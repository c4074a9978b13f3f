/**
 * What a verified report changes. Pure. The signature holds and the certificate is a record of ours; everything else is
 * decided here: is it new, is it one history, what does it prove, what is due next.
 */
import type { AuditEvent } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { Report, ReportedKeyring } from '#schema/messages/report.ts';
import type {
  DeliveryState,
  ReportOutcome,
  TargetMove,
  VerifiedReport,
  VersionProof,
} from '#gateway/ports/store/delivery.ts';
import type {
  DeviceKeyVersion,
  KeySetRecord,
  KeyVersionRecord,
  KeyVersionRollout,
  RolloutRecord,
  TargetState,
} from '#gateway/ports/store/records.ts';
import type { Policy } from '#schema/policy.ts';
import type { SiteWindows } from '#gateway/rollout/window.ts';
import { resendDelay, spreadOf } from './backoff.ts';
import { concerns, latecomer } from './decide-dispatch.ts';
import {
  desiredRenewal,
  desiredTrust,
  isHeld,
  isReplacedBy,
  keyringDifferences,
  sooner,
  type Moment,
} from './desired.ts';
import { isLost, learnFrom, withLearned, type Lesson } from './learn.ts';

const BOOTS_KEPT = 8;
const ADDRESSES_KEPT = 4;

function event(
  verified: VerifiedReport,
  action: string,
  outcome: AuditEvent['outcome'],
  code: ErrorCode | undefined,
  details: NonNullable<AuditEvent['details']>,
): AuditEvent {
  const { report, address } = verified;
  return {
    action,
    outcome,
    ...(code === undefined ? {} : { code }),
    actor: { type: 'device', id: report.device },
    ...(address === undefined ? {} : { source: address }),
    device: report.device,
    object: { type: 'report', id: String(report.counter) },
    details,
  };
}

/** With where it and its twin, if there is one, have spoken from. */
function quarantine(
  verified: VerifiedReport,
  { sync }: Pick<DeliveryState, 'sync'>,
  code: ErrorCode,
  details: NonNullable<AuditEvent['details']>,
): ReportOutcome {
  const addresses = reportedFrom(verified.address, [
    ...sync.reportedFrom,
    ...(sync.address === undefined ? [] : [sync.address]),
  ]);
  const audit = [event(verified, 'device.quarantine', 'success', code, { ...details, addresses: [...addresses] })];
  return { kind: 'quarantine', code, audit };
}

function reportedFrom(address: string | undefined, before: readonly string[]): readonly string[] {
  const all = address === undefined ? before : [address, ...before];
  return [...new Set(all)].slice(0, ADDRESSES_KEPT);
}

type History = 'new' | 'duplicate' | 'late' | 'report.regressed' | 'report.forked';

/**
 * Where the report stands in the device's one history of reports. A restored image starts a new boot with an old
 * counter; a clone continues from the same report as its twin, or goes on counting in a boot that its twin has ended.
 */
export function placeInHistory(
  state: Pick<DeliveryState['sync'], 'digest' | 'counter' | 'boots'>,
  report: Report,
  digest: string,
): History {
  if (digest === state.digest) return 'duplicate';
  const knownBoot = state.boots.includes(report.bootId);
  if (report.counter <= state.counter) {
    if (report.counter === state.counter && knownBoot) return 'report.forked';
    return knownBoot ? 'late' : 'report.regressed';
  }
  if (report.counter === state.counter + 1 && state.digest !== undefined && report.previous !== state.digest)
    return 'report.forked';
  return knownBoot && report.bootId !== state.boots[0] ? 'report.forked' : 'new';
}

/**
 * A device never loses what it proved: less than before means that its storage went back in time (I5). Unless it is the
 * gateway that went back: then a version may have been destroyed in the time that was `forgotten`.
 */
export function regression(state: DeliveryState, report: Report, forgotten = false): string | undefined {
  if (report.trustVersion < state.sync.trustVersion)
    return `trust bundle ${report.trustVersion} after ${state.sync.trustVersion}`;
  if (report.lastSeq < state.sync.lastSeq) return `update ${report.lastSeq} after ${state.sync.lastSeq}`;
  for (const row of state.versions) {
    const reported = report.keyrings
      .find((ring) => ring.keySet === row.keySet)
      ?.versions.find((version) => version.version === row.version);
    if (!forgotten && isHeld(row.state) && reported === undefined)
      return `${row.keySet} version ${row.version} is gone`;
    if (row.state === 'destroyed' && reported !== undefined && reported.state !== 'destroyed')
      return `${row.keySet} version ${row.version} is back after its destruction`;
  }
  return undefined;
}

interface Proved {
  readonly proofs: readonly VersionProof[];
  readonly rows: readonly DeviceKeyVersion[];
  readonly mismatches: readonly string[];
}

/** Check value that the version must have on this device, where the gateway knows it: its own word goes first. */
function expectedKcv(
  keySet: KeySetRecord | undefined,
  row: DeviceKeyVersion | undefined,
  known: KeyVersionRecord | undefined,
): string | undefined {
  return (keySet?.scope === 'shared' ? known?.kcv : undefined) ?? row?.kcv;
}

function readProofs(state: DeliveryState, report: Report, { gone }: Lesson, at: Date): Proved {
  const rows = new Map(state.versions.map((row) => [`${row.keySet}/${row.version}`, row]));
  const proofs: VersionProof[] = [];
  const mismatches: string[] = [];
  const prove = (ring: ReportedKeyring): void => {
    const keySet = state.keySets.find((entry) => entry.name === ring.keySet);
    for (const reported of ring.versions) {
      const key = `${ring.keySet}/${reported.version}`;
      const row = rows.get(key);
      const known = keySet?.versions.find(({ version }) => version === reported.version);
      // A device proves what the gateway has made, nothing else: its inventions would fill the store.
      if (row === undefined && known === undefined) continue;
      const expected = expectedKcv(keySet, row, known);
      if (reported.state !== 'destroyed' && expected !== undefined && reported.kcv !== expected) {
        const isLostHere = known !== undefined && isLost(known);
        if (!isLostHere || row?.kcv !== reported.kcv) mismatches.push(key);
        // Of a version that only devices hold, nobody knows which of two values is the right one.
        if (!isLostHere) continue;
      }
      if (row?.state === reported.state) continue;
      const kcv = reported.kcv ?? row?.kcv;
      proofs.push({ keySet: ring.keySet, version: reported.version, state: reported.state, kcv });
      rows.set(key, { keySet: ring.keySet, version: reported.version, state: reported.state, kcv, changedAt: at });
    }
  };
  for (const ring of report.keyrings) prove(ring);
  for (const { keySet, version } of gone) {
    const key = `${keySet}/${version}`;
    const kcv = rows.get(key)?.kcv;
    proofs.push({ keySet, version, state: 'destroyed', kcv });
    rows.set(key, { keySet, version, state: 'destroyed', kcv, changedAt: at });
  }
  return { proofs, rows: [...rows.values()], mismatches };
}

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
  const mine = rows.filter(({ keySet }) => keySet === rollout.keySet);
  const now = mine.find(({ version }) => version === rollout.toVersion)?.state;
  if (now === 'stored') return 'stored';
  if (now !== 'active') return undefined;
  const old = mine.filter(({ version, state }) => version < rollout.toVersion && state !== 'offered');
  const mayAnswer = (states: readonly DeviceKeyVersion['state'][]): boolean =>
    old.every(({ state }) => states.includes(state));
  if (old.some(({ state }) => state === 'destroyed') && mayAnswer(['destroyed'])) return 'old-destroyed';
  if (old.length > 0 && mayAnswer(['retired', 'destroyed'])) return 'old-retired';
  return 'active';
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

/** What the report shows, for the rollouts. */
interface ProvedNow {
  readonly report: Report;
  readonly rows: readonly DeviceKeyVersion[];
  readonly certificate: VerifiedReport['certificate'];
  /** The device has applied the update that asked it to renew. */
  readonly agreesToRenew: boolean;
  /** It is the first report of a connection. */
  readonly isBack: boolean;
  readonly at: Date;
}

type Result = Report['results'][number];

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

function moveTarget(
  entry: DeliveryState['rollouts'][number],
  state: DeliveryState,
  proved: ProvedNow,
): TargetMove | undefined {
  const { rollout, target } = entry;
  const { report } = proved;
  // Until all targets are recorded nobody is late: a place taken before would not be the one of the plan.
  if (target === undefined && (rollout.preparedAt === undefined || !concerns(rollout, state))) return undefined;
  const before: TargetMove = target ?? latecomer(rollout, state, proved.at);
  if (before.state === 'exempt' || before.state === 'superseded' || before.state === 'quarantined') return undefined;
  const latest =
    report.results.find((result) => result.seq === state.sync.seq) ??
    report.results.find((result) => result.seq === report.lastSeq);
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

function isFirstOfConnection({ boots, lastSeenAt, lastReportAt }: DeliveryState['sync'], report: Report): boolean {
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
interface Afterwards {
  readonly state: DeliveryState;
  readonly report: Report;
  readonly rows: readonly DeviceKeyVersion[];
  readonly targets: readonly TargetMove[];
  readonly proved: boolean;
}

/** When the dispatcher looks at the device next. */
function due(
  { state, report, rows, targets, proved }: Afterwards,
  moment: Moment,
  policy: Policy['delivery'],
): { readonly dueAt: Date | undefined; readonly attempts: number } {
  const { now } = moment;
  const rollouts = state.rollouts.map((entry) => {
    const moved = targets.find(({ rollout }) => rollout === entry.rollout.id);
    if (moved === undefined) return entry;
    const target = entry.target ?? {
      ...moved,
      device: report.device,
      reason: undefined,
      old: 'gone',
      signedOff: undefined,
    };
    return { ...entry, target: { ...target, ...moved } };
  });
  const after = { ...state, versions: rows, rollouts };
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
  const progressed = proved || report.trustVersion > state.sync.trustVersion;
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

export function decideReport(
  known: DeliveryState,
  verified: VerifiedReport,
  policy: Policy['delivery'],
  windows: SiteWindows,
): ReportOutcome {
  const { report, certificate, digest, receivedAt } = verified;
  const { device, sync } = known;
  if (certificate.device !== device.id)
    return {
      kind: 'refused',
      code: 'message.wrong-device',
      audit: [event(verified, 'report.refuse', 'denied', 'message.wrong-device', {})],
    };
  if (device.state.kind === 'quarantined' || device.state.kind === 'revoked') {
    return {
      kind: 'refused',
      code: 'enrolment.quarantined',
      audit: [event(verified, 'report.refuse', 'denied', 'enrolment.quarantined', {})],
    };
  }
  const history = placeInHistory(sync, report, digest);
  if (history === 'duplicate' || history === 'late') return { kind: 'ignored', why: history };
  if (certificate.state !== 'issued')
    return {
      kind: 'refused',
      code: 'certificate.revoked',
      audit: [event(verified, 'report.refuse', 'denied', 'certificate.revoked', {})],
    };
  if (certificate.serial !== device.currentSerial && certificate.serial !== device.nextSerial) {
    return {
      kind: 'refused',
      code: 'certificate.superseded',
      audit: [event(verified, 'report.refuse', 'denied', 'certificate.superseded', { serial: certificate.serial })],
    };
  }
  if (history !== 'new')
    return quarantine(verified, known, history, { counter: report.counter, known: sync.counter, boot: report.bootId });
  const lesson = learnFrom(known, report, receivedAt);
  const lost = regression(known, report, lesson.forgotten);
  if (lost !== undefined) return quarantine(verified, known, 'report.regressed', { lost });

  const state = { ...known, keySets: withLearned(known.keySets, lesson) };
  const { proofs, rows, mismatches } = readProofs(state, report, lesson, receivedAt);
  const targets: TargetMove[] = [];
  const agreesToRenew = report.results.some(({ seq, outcome }) => seq === sync.seq && outcome === 'applied');
  const isBack = isFirstOfConnection(sync, report);
  for (const entry of state.rollouts) {
    const move = moveTarget(entry, state, { report, rows, certificate, agreesToRenew, isBack, at: receivedAt });
    if (move !== undefined) targets.push(move);
  }
  const progressed = proofs.length > 0 || report.trustVersion > sync.trustVersion;
  const boots = sync.boots[0] === report.bootId ? sync.boots : [report.bootId, ...sync.boots].slice(0, BOOTS_KEPT);
  const audit: AuditEvent[] = [];
  if (progressed) {
    audit.push(
      event(verified, 'device.report', 'success', undefined, {
        trust: report.trustVersion,
        proved: proofs.map((proof) => `${proof.keySet}/${proof.version} ${proof.state}`),
      }),
    );
  }
  for (const result of report.results) {
    if (result.outcome === 'refused')
      audit.push(event(verified, 'device.refusal', 'denied', undefined, { seq: result.seq, code: result.code ?? '' }));
  }
  if (mismatches.length > 0)
    audit.push(event(verified, 'device.report', 'error', 'key.kcv-mismatch', { versions: [...mismatches] }));
  for (const { code, details } of lesson.events) audit.push(event(verified, 'device.report', 'error', code, details));
  return {
    kind: 'accepted',
    ...due({ state, report, rows, targets, proved: proofs.length > 0 }, { now: receivedAt, windows }, policy),
    boots,
    proofs,
    targets,
    reportedFrom: reportedFrom(verified.address, sync.reportedFrom),
    unexpected: lesson.unexpected,
    learned: { versions: lesson.versions, revisions: lesson.revisions },
    audit,
  };
}
