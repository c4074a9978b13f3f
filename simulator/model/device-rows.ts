/** What the gateway's store keeps of each device of a lane: what it reported, its key versions, and its targets. */
import type { DispatchOutcome, PlannedUpdate, ReportOutcome, TargetMove } from '#gateway/ports/store/delivery.ts';
import type { CertificateRecord, DeviceKeyVersion, RolloutTarget } from '#gateway/ports/store/records.ts';
import type { KeySetName, Sha256 } from '#schema/ids.ts';
import type { Report } from '#schema/messages/report.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { ModelNode, OpenRollout, RolloutEntry } from './node.ts';
import { SharedRows } from './shared-rows.ts';
import { oldVersionsOf } from './tally.ts';

export interface DeviceListener {
  /** The due mark of a device was set or moved forward. */
  due(node: ModelNode): void;
  /** Something that its decision looks at has changed: a count of its targets, or the rollout itself. */
  moved(open: OpenRollout, by: 'target' | 'presence'): void;
  targetStep(node: ModelNode, before: RolloutTarget | undefined, after: RolloutTarget): void;
}

type Accepted = Extract<ReportOutcome, { kind: 'accepted' }>;

/** Target states that a contained device keeps, as in gateway/store/sqlite/containment.ts. */
const KEPT: ReadonlySet<RolloutTarget['state']> = new Set(['old-destroyed', 'superseded', 'exempt']);

/** What was tried with a target that begins anew is forgotten. */
export const FROM_THE_START = { offeredAt: undefined, attempts: 0 } as const;

export class DeviceRows {
  private readonly rows = new SharedRows();
  private readonly listener: DeviceListener;

  constructor(listener: DeviceListener) {
    this.listener = listener;
  }

  setPresence(node: ModelNode, connected: boolean, at: Date): void {
    const { sync, rollouts } = node.state;
    if (sync.connected !== connected) {
      for (const { open, target } of rollouts) {
        if (target === undefined) continue;
        open.tally.add(target, sync.connected, -1);
        open.tally.add(target, connected, 1);
        this.listener.moved(open, 'presence');
      }
    }
    sync.connected = connected;
    sync.lastSeenAt = at;
    if (connected) this.listener.due(node);
  }

  accept(node: ModelNode, report: Report, digest: Sha256, outcome: Accepted, at: Date): void {
    const { sync } = node.state;
    sync.counter = report.counter;
    sync.digest = digest;
    sync.boots = outcome.boots;
    sync.reportedFrom = outcome.reportedFrom;
    sync.unexpected = outcome.unexpected;
    sync.nonce = report.nonce;
    sync.nonceAnswered = false;
    sync.clockTrusted = report.clock.trusted;
    sync.trustVersion = report.trustVersion;
    sync.lastSeq = report.lastSeq;
    sync.lastReportAt = at;
    sync.lastSeenAt = at;
    sync.attempts = outcome.attempts;
    for (const { keySet, version, state, kcv } of outcome.proofs) {
      const before = this.row(node, keySet, version);
      this.putRow(node, {
        keySet,
        version,
        state,
        kcv: kcv ?? before?.kcv,
        changedAt: before?.state === state ? before.changedAt : at,
      });
    }
    for (const move of outcome.targets) this.move(node, move);
    this.setDue(node, outcome.dueAt);
  }

  dispatch(node: ModelNode, outcome: DispatchOutcome): void {
    const { sync } = node.state;
    if (outcome.kind === 'send') {
      sync.nonceAnswered ||= sync.nonce === outcome.update.nonce;
      sync.seq = outcome.update.seq;
    }
    sync.attempts = outcome.attempts;
    for (const move of outcome.targets) this.move(node, move);
    this.setDue(node, outcome.dueAt);
  }

  /** Versions that an update is about to bring, before it is sent. */
  recordOffers(node: ModelNode, update: PlannedUpdate, at: Date): void {
    for (const { keySet, deliver } of update.keyrings) {
      for (const version of deliver) {
        if (this.row(node, keySet.name, version) !== undefined) continue;
        const kcv = keySet.versions.find((entry) => entry.version === version)?.kcv;
        this.putRow(node, { keySet: keySet.name, version, state: 'offered', kcv, changedAt: at });
      }
    }
  }

  /** Quarantine and release, with what goes along. */
  contain(node: ModelNode, code: ErrorCode | undefined, at: Date): void {
    const { device, rollouts } = node.state;
    device.state = code === undefined ? { kind: 'enrolled' } : { kind: 'quarantined', code };
    device.stateSince = at;
    node.isGivenUp = true;
    for (const entry of rollouts) {
      const { target } = entry;
      if (target === undefined) continue;
      if (code === undefined ? target.state !== 'quarantined' : KEPT.has(target.state)) continue;
      const state = code === undefined ? 'pending' : 'quarantined';
      const anew = state === 'pending' ? FROM_THE_START : {};
      this.put(node, entry, { ...target, state, code, deferredUntil: undefined, ...anew, changedAt: at });
    }
    this.setDue(node, code === undefined ? at : undefined);
  }

  /** A person vouched for the device: its reports start a new history, and what it proved counts as offered. */
  resetHistory(node: ModelNode): void {
    const { sync } = node.state;
    node.isGivenUp = true;
    Object.assign(sync, { lastSeq: 0, counter: 0, digest: undefined, nonce: undefined, nonceAnswered: false });
    Object.assign(sync, { clockTrusted: false, boots: [], trustVersion: 0, attempts: 0 });
    node.state.versions = this.rows.anew(node.state.versions);
    for (const entry of node.state.rollouts) this.recount(node, entry);
  }

  /** The certificate is issued, and the device has shown it. */
  promote(node: ModelNode, certificate: CertificateRecord): void {
    node.state.identity = certificate;
    node.state.device.currentSerial = certificate.serial;
  }

  private move(node: ModelNode, move: TargetMove): void {
    const entry = node.state.rollouts.find(({ rollout }) => rollout.id === move.rollout);
    if (entry === undefined) return;
    const { target } = entry;
    this.put(node, entry, {
      ...move,
      device: node.state.device.id,
      reason: target?.reason,
      old: target?.old ?? 'gone',
      signedOff: target?.signedOff,
    });
  }

  /** A target as it is now; which old versions its device holds is counted with it. */
  put(node: ModelNode, entry: RolloutEntry, wanted: RolloutTarget): void {
    const before = entry.target;
    const old = oldVersionsOf(entry.rollout, wanted.signedOff, node.state.versions);
    const after = wanted.old === old ? wanted : { ...wanted, old };
    const isCounted = entry.open.tally.change(before, after, node.state.sync.connected);
    entry.target = after;
    if (before?.state !== after.state || before.code !== after.code) this.listener.targetStep(node, before, after);
    if (isCounted) this.listener.moved(entry.open, 'target');
  }

  private recount(node: ModelNode, entry: RolloutEntry): void {
    const { target, rollout } = entry;
    if (target === undefined) return;
    const old = oldVersionsOf(rollout, target.signedOff, node.state.versions);
    if (old !== target.old) this.put(node, entry, { ...target, old });
  }

  private row(node: ModelNode, keySet: KeySetName, version: number): DeviceKeyVersion | undefined {
    return node.state.versions.find((row) => row.version === version && row.keySet === keySet);
  }

  private putRow(node: ModelNode, row: DeviceKeyVersion): void {
    const { state } = node;
    state.versions = this.rows.with(state.versions, row);
    for (const entry of state.rollouts) {
      if (entry.rollout.kind === 'key-version' && entry.rollout.keySet === row.keySet) this.recount(node, entry);
    }
  }

  /** The device is due by then, unless it is sooner. */
  raise(node: ModelNode, at: Date): void {
    const { device, sync } = node.state;
    if (device.state.kind !== 'enrolled' && device.state.kind !== 'registered') return;
    if (sync.dueAt === undefined || sync.dueAt > at) this.setDue(node, at);
  }

  private setDue(node: ModelNode, at: Date | undefined): void {
    node.state.sync.dueAt = at;
    if (at !== undefined && node.state.sync.connected) this.listener.due(node);
  }
}
