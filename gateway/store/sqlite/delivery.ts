/** Reports in, updates out: the hot paths. Every statement is prepared, and rows that would not change are not written. */
import { eq } from 'drizzle-orm';
import { CroupierError } from '#schema/errors.ts';
import { deviceSync } from '#schema/tables.ts';
import type {
  DeliveryState,
  DeliveryStore,
  DispatchOutcome,
  RecordedUpdate,
  ReportOutcome,
  TargetMove,
  VerifiedReport,
  VersionProof,
} from '#gateway/ports/store/delivery.ts';
import type { RolloutTarget } from '#gateway/ports/store/records.ts';
import { changeDeviceState, revokeReplaced } from './containment.ts';
import { deliveryQueries } from './delivery-state.ts';
import { deliveryStatements, NO_NONCE } from './delivery-statements.ts';
import { dueRaiser } from './due.ts';
import { insertKeyVersion, raiseRevision } from './key-sets.ts';
import { ms } from './rows.ts';
import type { StoreContext } from './transaction.ts';

type Accepted = Extract<ReportOutcome, { kind: 'accepted' }>;

const sameTime = (a: Date | undefined, b: Date | undefined): boolean => a?.getTime() === b?.getTime();

/** Whether a move leaves its target as it is. */
const isSame = (before: RolloutTarget, moved: TargetMove): boolean =>
  before.state === moved.state &&
  before.code === moved.code &&
  before.attempts === moved.attempts &&
  before.wave === moved.wave &&
  before.position === moved.position &&
  before.service === moved.service &&
  sameTime(before.deferredUntil, moved.deferredUntil) &&
  sameTime(before.offeredAt, moved.offeredAt) &&
  sameTime(before.changedAt, moved.changedAt);

export function deliveryStore(context: StoreContext): DeliveryStore {
  const { db, transactions } = context;
  const queries = deliveryQueries(context);
  const statements = deliveryStatements(context);
  const raise = dueRaiser(context);

  const move = (state: DeliveryState, moved: TargetMove): void => {
    const device = state.device.id;
    const loaded = state.rollouts.find(({ rollout }) => rollout.id === moved.rollout);
    const before = loaded === undefined ? queries.target(moved.rollout, device) : loaded.target;
    if (before !== undefined && isSame(before, moved)) return;
    statements.target({
      rollout: moved.rollout,
      device,
      wave: moved.wave,
      position: moved.position,
      service: moved.service ? 1 : 0,
      state: moved.state,
      code: moved.code ?? null,
      deferredUntil: ms(moved.deferredUntil),
      offeredAt: ms(moved.offeredAt),
      attempts: moved.attempts,
      changedAt: moved.changedAt.getTime(),
    });
  };

  const prove = (state: DeliveryState, proof: VersionProof, at: Date): void => {
    const before = state.versions.find(({ keySet, version }) => keySet === proof.keySet && version === proof.version);
    const kcv = proof.kcv ?? before?.kcv;
    const sameState = before?.state === proof.state;
    if (sameState && before.kcv === kcv) return;
    const { keySet, version } = proof;
    const changedAt = sameState ? before.changedAt : at;
    statements.proof({
      device: state.device.id,
      keySet,
      version,
      state: proof.state,
      kcv: kcv ?? null,
      at: changedAt.getTime(),
    });
  };

  const accept = (
    state: DeliveryState,
    { report, digest, address, receivedAt }: VerifiedReport,
    outcome: Accepted,
  ): void => {
    statements.acceptReport({
      device: state.device.id,
      counter: report.counter,
      digest,
      boots: JSON.stringify(outcome.boots),
      reportedFrom: JSON.stringify(outcome.reportedFrom),
      unexpected: outcome.unexpected ?? null,
      nonce: report.nonce,
      clockTrusted: report.clock.trusted ? 1 : 0,
      trustVersion: report.trustVersion,
      lastSeq: report.lastSeq,
      agentVersion: report.agent.version,
      address: address ?? null,
      at: receivedAt.getTime(),
      dueAt: ms(outcome.dueAt),
      attempts: outcome.attempts,
    });
    for (const proof of outcome.proofs) prove(state, proof, receivedAt);
    for (const moved of outcome.targets) move(state, moved);
    for (const campaign of outcome.exposed) revokeReplaced(db, state.device, campaign, receivedAt);
  };

  /** Whether anything was learned that other devices' reports have to be decided with. */
  const learn = ({ versions, revisions }: Accepted['learned'], at: Date): boolean => {
    for (const version of versions) insertKeyVersion(db, version);
    for (const { keySet, above } of revisions) raiseRevision(db, keySet, at, above);
    return versions.length > 0 || revisions.length > 0;
  };

  const dispatch = (state: DeliveryState, outcome: DispatchOutcome): void => {
    const device = state.device.id;
    const next = { device, dueAt: ms(outcome.dueAt), attempts: outcome.attempts };
    if (outcome.kind === 'send')
      statements.send({ ...next, seq: outcome.update.seq, nonce: outcome.update.nonce ?? NO_NONCE });
    else statements.settle(next);
    for (const moved of outcome.targets) move(state, moved);
  };

  const recordUpdate = ({ device, seq, sha256, issuedAt, offered }: RecordedUpdate): void => {
    const at = issuedAt.getTime();
    const added = statements.update({ device, seq, sha256, issuedAt: at });
    if (added === 0 && statements.updateDigest({ device, seq }) !== sha256) {
      throw new CroupierError('message.conflict', `Another update ${seq} is recorded for device ${device}`, {
        detail: { device, seq },
      });
    }
    for (const { keySet, version, kcv } of offered) statements.offer({ device, keySet, version, kcv, at });
  };

  return {
    async recordReports(reports, decide) {
      return transactions.write((journal) => {
        let standing = queries.standing();
        return reports.map((verified) => {
          const state = queries.state(verified.report.device, standing);
          if (state === undefined) return undefined;
          const outcome = decide(state, verified);
          if (outcome.kind === 'ignored') return outcome;
          if (outcome.kind === 'accepted') {
            accept(state, verified, outcome);
            if (learn(outcome.learned, verified.receivedAt)) standing = queries.standing();
          }
          if (outcome.kind === 'quarantine') {
            changeDeviceState(db, state.device, { kind: 'quarantined', code: outcome.code }, verified.receivedAt);
          }
          journal(outcome.audit, verified.receivedAt);
          return outcome;
        });
      });
    },

    async takeDue(limit, now, decide) {
      return transactions.write(() =>
        Array.from(queries.due(limit, now, queries.standing()), (state) => {
          const outcome = decide(state);
          dispatch(state, outcome);
          return outcome;
        }),
      );
    },

    async recordUpdates(updates) {
      await transactions.write(() => {
        for (const update of updates) recordUpdate(update);
      });
    },

    async setPresence(changes) {
      await transactions.write(() => {
        for (const { device, connected, address, at } of changes) {
          statements.presence({ device, connected: connected ? 1 : 0, address: address ?? null, at: at.getTime() });
        }
      });
    },

    async clearPresence() {
      await transactions.write(() => {
        db.update(deviceSync).set({ connected: false }).where(eq(deviceSync.connected, true)).run();
      });
    },

    async nextDue() {
      return transactions.read(() => statements.nextDue());
    },

    async markDue(marked, at) {
      await transactions.write(() => {
        for (const device of marked) raise(device, at);
      });
    },
  };
}
