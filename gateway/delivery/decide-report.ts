/**
 * What a verified report changes. Pure. The signature holds and the certificate is a record of ours; everything else is
 * decided here: is it new, is it one history, what does it prove, what is due next.
 */
import type { AuditEvent } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { DeliveryState, ReportOutcome, TargetMove, VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { Campaign } from '#gateway/ports/store/records.ts';
import type { Report } from '#schema/messages/report.ts';
import type { Policy } from '#schema/policy.ts';
import type { SiteWindows } from '#gateway/rollout/window.ts';
import { learnFrom, withLearned } from './learn.ts';
import { placeInHistory, regression } from './report-history.ts';
import { readProofs } from './report-proofs.ts';
import { moveTarget } from './move-target.ts';
import { due, isFirstOfConnection } from './next-look.ts';

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
  const addresses = latest([verified.address, ...sync.reportedFrom, sync.address]);
  const audit = [event(verified, 'device.quarantine', 'success', code, { ...details, addresses })];
  return { kind: 'quarantine', code, audit };
}

const latest = (addresses: readonly (string | undefined)[]): string[] =>
  [...new Set(addresses.filter((address) => address !== undefined))].slice(0, ADDRESSES_KEPT);

function reportedFrom(address: string | undefined, before: readonly string[]): readonly string[] {
  // Most devices report from where they reported last.
  if (address === undefined || address === before[0]) return before;
  return latest([address, ...before]);
}

/** Campaigns for compromised keys that the device has just answered with another certificate: its old ones end now. */
function exposedKeys(rollouts: DeliveryState['rollouts'], targets: readonly TargetMove[]): readonly Campaign[] {
  return rollouts.flatMap(({ rollout }) =>
    rollout.kind === 're-enrolment' &&
    rollout.campaign.reason === 'compromise' &&
    targets.some((moved) => moved.rollout === rollout.id && moved.state === 'active')
      ? [rollout.campaign]
      : [],
  );
}

/**
 * Every report repeats the results of the latest updates, in the order in which they came. On record go the refusals since
 * the last update that the device is known to have processed.
 */
function newRefusals({ sync }: DeliveryState, { results }: Report): Report['results'] {
  if (results.length === 0) return results;
  const known = results.findLastIndex(({ seq, outcome }) => seq === sync.lastSeq && outcome !== 'refused');
  return results.slice(known + 1).filter(({ outcome }) => outcome === 'refused');
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
    const code = device.state.kind === 'revoked' ? 'certificate.revoked' : 'enrolment.quarantined';
    return { kind: 'refused', code, audit: [event(verified, 'report.refuse', 'denied', code, {})] };
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

  const keySets = withLearned(known.keySets, lesson);
  const state = keySets === known.keySets ? known : { ...known, keySets };
  const { proofs, rows, mismatches } = readProofs(state, report, lesson, receivedAt);
  const targets: TargetMove[] = [];
  const agreesToRenew = report.results.some(({ seq, outcome }) => seq === sync.seq && outcome === 'applied');
  const latest =
    report.results.find(({ seq }) => seq === sync.seq) ??
    report.results.find(({ seq }) => seq === report.lastSeq && seq !== 0);
  const isBack = isFirstOfConnection(sync, report);
  const shown = { report, rows, certificate, agreesToRenew, latest, isBack, at: receivedAt };
  for (const entry of state.rollouts) {
    const move = moveTarget(entry, state, shown);
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
  for (const { seq, code = '' } of newRefusals(known, report))
    audit.push(event(verified, 'device.refusal', 'denied', undefined, { seq, code }));
  if (mismatches.length > 0)
    audit.push(event(verified, 'device.report', 'error', 'key.kcv-mismatch', { versions: [...mismatches] }));
  const exposed = exposedKeys(state.rollouts, targets);
  for (const { issuer, before } of exposed)
    audit.push(
      event(verified, 'certificate.revoke', 'success', undefined, {
        before: before.toISOString(),
        issuer: issuer ?? null,
        reason: 'keyCompromise',
      }),
    );
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
    exposed,
    audit,
  };
}
