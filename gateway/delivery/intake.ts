/**
 * Takes reports in: verifies each signature, records many in one transaction, rings who has to act on it. Bounded: what
 * does not fit is dropped, and the device's update is repeated until its report gets through.
 */
import { errorCode, errorMessage, type ErrorCode } from '#schema/errors.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { DeviceId, Realm, Sha256 } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Broker, ReportArrival } from '#gateway/ports/broker.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { ReportOutcome, VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { SiteWindows } from '#gateway/rollout/window.ts';
import { decideReport } from './decide-report.ts';
import { readClaim, SignerCache, verifyReport, type KnownSigner } from './verify-report.ts';
import { createWorker } from '#gateway/ports/worker.ts';

export interface IntakePorts {
  readonly realm: Realm;
  readonly store: Store;
  readonly broker: Broker;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly policy: () => Policy;
  readonly windows: () => SiteWindows;
  /**
   * Whether one more report that does not verify goes on record: each waits for a commit, and one device could send
   * nothing else. Those beyond are in the log and the metrics alone. All are recorded unless told.
   */
  readonly mayRecordInvalid?: () => boolean;
  /** Something is due for some device. */
  readonly onDue: () => void;
  /** A rollout's target moved. */
  readonly onProgress: () => void;
  /** After each committed report, for watchers. */
  readonly onReport?: (device: DeviceId, outcome: ReportOutcome) => void;
}

export interface Intake {
  readonly accept: (arrival: ReportArrival) => void;
  stop(): Promise<void>;
}

const BATCH = 64;
const QUEUE_LIMIT = 20_000;
const KNOWN_SIGNERS = 60_000;
/** Faults of the store that pass: what could not be recorded is tried again after a while. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['store.unavailable', 'audit.unavailable']);
const RETRY_MS = 1_000;

export function createIntake(ports: IntakePorts): Intake {
  const { realm, store, broker, clock, log, metrics } = ports;
  const signers = new SignerCache(KNOWN_SIGNERS);
  let queue: ReportArrival[] = [];

  const signerOf = async (fingerprint: Sha256): Promise<KnownSigner | undefined> => {
    const known = signers.get(fingerprint);
    if (known !== undefined) return known;
    const found = await store.certificateByFingerprint(fingerprint);
    return found?.certificate.der === undefined
      ? undefined
      : signers.add(fingerprint, found.certificate, found.certificate.der);
  };

  const invalid = async (arrival: ReportArrival, code: AuditEvent['code'], why: string): Promise<void> => {
    metrics.reports('invalid');
    log.warn({ device: arrival.device, code, address: arrival.address }, `report refused: ${why}`);
    if (ports.mayRecordInvalid?.() === false) return;
    const event: AuditEvent = {
      action: 'report.refuse',
      outcome: 'denied',
      ...(code === undefined ? {} : { code }),
      actor: { type: 'device', id: arrival.device },
      device: arrival.device,
      ...(arrival.address === undefined ? {} : { source: arrival.address }),
    };
    await store.appendAudit([event], clock.now());
  };

  const verify = async (arrival: ReportArrival, now: Date): Promise<VerifiedReport | undefined> => {
    try {
      const claim = readClaim(arrival.payload);
      const signer = await signerOf(claim.signer);
      if (signer === undefined) {
        await invalid(arrival, 'message.signer-untrusted', 'its certificate has no record');
        return undefined;
      }
      return verifyReport(realm, arrival, claim.message, signer, now);
    } catch (error) {
      if (PASSING.has(errorCode(error))) throw error;
      await invalid(arrival, errorCode(error), errorMessage(error));
      return undefined;
    }
  };

  const follow = async (
    verified: VerifiedReport,
    outcome: ReportOutcome,
  ): Promise<{ due: boolean; progress: boolean }> => {
    const { device } = verified.report;
    ports.onReport?.(device, outcome);
    switch (outcome.kind) {
      case 'accepted':
        metrics.reports('accepted');
        return { due: outcome.dueAt !== undefined, progress: outcome.targets.length > 0 || outcome.proofs.length > 0 };
      case 'ignored':
        metrics.reports(outcome.why);
        return { due: false, progress: false };
      case 'quarantine':
        metrics.reports('quarantine');
        log.error(
          { device, code: outcome.code, address: verified.address },
          'device quarantined: its reports are not one history',
        );
        await broker.disconnect(device);
        return { due: false, progress: true };
      case 'refused':
        metrics.reports('refused');
        log.warn({ device, code: outcome.code }, 'report refused');
        return { due: false, progress: false };
    }
  };

  const recordBatch = async (arrivals: readonly ReportArrival[]): Promise<void> => {
    const now = clock.now();
    const verified: VerifiedReport[] = [];
    let unsettled = [...arrivals];
    const policy = ports.policy().delivery;
    let outcomes: Awaited<ReturnType<Store['recordReports']>>;
    try {
      for (const arrival of arrivals) {
        const report = await verify(arrival, now);
        if (report === undefined) unsettled = unsettled.filter((other) => other !== arrival);
        else verified.push(report);
      }
      if (verified.length === 0) return;
      const windows = ports.windows();
      outcomes = await store.recordReports(verified, (state, report) => decideReport(state, report, policy, windows));
    } catch (error) {
      // The broker has acknowledged them, so that the devices will not send them again by themselves.
      if (PASSING.has(errorCode(error))) queue = [...unsettled, ...queue].slice(0, QUEUE_LIMIT);
      throw error;
    }
    let due = false;
    let progress = false;
    for (const [index, report] of verified.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) continue;
      const next = await follow(report, outcome);
      due ||= next.due;
      progress ||= next.progress;
    }
    if (due) ports.onDue();
    if (progress) ports.onProgress();
  };

  const worker = createWorker(
    clock,
    async () => {
      // Reports that arrive in the same turn of the event loop share a transaction.
      await new Promise<void>((resolve) => setImmediate(resolve));
      while (queue.length > 0) {
        const batch = queue.slice(0, BATCH);
        queue = queue.slice(BATCH);
        await recordBatch(batch);
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    },
    (error) => {
      log.error({ code: errorCode(error) }, `reports not recorded: ${errorMessage(error)}`);
      worker.ringAt(new Date(clock.now().getTime() + RETRY_MS));
    },
  );

  return {
    accept: (arrival) => {
      if (queue.length >= QUEUE_LIMIT) {
        metrics.reports('dropped');
        return;
      }
      queue.push(arrival);
      worker.ring();
    },
    stop: () => worker.stop(),
  };
}
