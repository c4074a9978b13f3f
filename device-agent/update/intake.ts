/** What happens to an update from its arrival to its report. Runs in the agent's queue: updates of a device are serial. */
import { hash } from 'node:crypto';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import { Seq, Sha256 } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';
import type { AgentContext } from '../context.ts';
import { recipientsOf } from '../identity/material.ts';
import { renewalBefore } from '../identity/renewal.ts';
import type { Reporter } from '../report/reporter.ts';
import { withResult, type AgentState } from '../state/state.ts';
import type { TrustKeeper } from '../trust/keeper.ts';
import { decideUpdate } from './decide.ts';
import { openEnvelopes, wipe } from './envelopes.ts';
import { applyKeyrings, checkKeyrings, retryDeferred, type Activation } from './keyrings.ts';
import { claimsOf, verifyUpdate } from './verify.ts';

const NO_SEQ = Seq.parse(0);

export class UpdateIntake {
  private readonly context: AgentContext;
  private readonly reporter: Reporter;
  private readonly trust: TrustKeeper;
  /** An update that needs trust links which have not come yet. */
  private waiting: Uint8Array | undefined;

  constructor(context: AgentContext, reporter: Reporter, trust: TrustKeeper) {
    this.context = context;
    this.reporter = reporter;
    this.trust = trust;
  }

  /**
   * Takes one update, CMS DER. It is applied as a whole or refused with a report; a refusal changes nothing.
   * Errors: `store.unavailable`: then it counts as never received.
   */
  async take(der: Uint8Array): Promise<void> {
    this.waiting = undefined;
    const claimed = claimsOf(der);
    // The signer may be one that only a later bundle trusts. What the message claims is no more than a hint to look.
    if (claimed !== undefined && claimed.trustVersion > this.trust.version) await this.catchUp();
    let seq = NO_SEQ;
    try {
      const update = this.verified(der);
      ({ seq } = update);
      await this.process(update, der);
    } catch (error) {
      if (errorCode(error) === 'store.unavailable') throw error;
      await this.refuse(this.seqToReport(error, seq, claimed?.seq), error);
    }
  }

  /** Trust has advanced: an update that waited for it is taken now. */
  async resume(): Promise<void> {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting !== undefined) await this.take(waiting);
  }

  /** Activates what was deferred and is free now. */
  async retryDeferred(): Promise<void> {
    const { held, busy, time } = this.context;
    const retried = retryDeferred(held.current.keyrings, busy, time.read().now);
    if (retried !== undefined) {
      const results = retried.results.reduce(withResult, [...held.current.results]);
      await this.reporter.commit({ ...held.current, keyrings: retried.keyrings, results });
      this.tellActivated(retried.activated);
    }
    this.scheduleRetry();
  }

  scheduleRetry(): void {
    const { held, deadlines, timing, queue, fault } = this.context;
    if (held.current.keyrings.every(({ deferred }) => deferred === undefined)) return;
    deadlines.set('busy', timing.busyPollMs, () => {
      queue.run(() => this.retryDeferred()).catch((error: unknown) => fault('update', error));
    });
  }

  private verified(der: Uint8Array): Update {
    const { bundle } = this.context.held;
    if (bundle === undefined)
      throw new CroupierError('message.signer-untrusted', 'the device holds no trust bundle yet');
    return verifyUpdate(der, bundle, this.context.time.read());
  }

  private async process(update: Update, der: Uint8Array): Promise<void> {
    const { held, time } = this.context;
    const { registration, lastSeq, lastDigest } = held.current;
    const facts = { ...registration, lastSeq, lastDigest, trustVersion: this.trust.version };
    const digest = Sha256.parse(hash('sha256', der, 'hex'));
    const isOurs = update.realm === facts.realm && update.device === facts.device;
    if (isOurs && update.seq > lastSeq) this.learnTime(update);
    const decision = decideUpdate(facts, update, digest, time.read());
    switch (decision.kind) {
      case 'apply':
        return this.apply(update, digest);
      case 'repeat':
        this.context.emit({ kind: 'update-repeated', seq: update.seq });
        return this.reporter.repeat();
      case 'walk-trust':
        this.waiting = der;
        throw new CroupierError(
          'trust.link-missing',
          `the update needs trust bundle ${decision.to}, which is not held yet`,
        );
      case 'refuse':
        throw new CroupierError(decision.code, decision.message);
    }
  }

  private learnTime(update: Update): void {
    const { time, emit } = this.context;
    if (!this.reporter.isFresh(update.nonce)) return;
    const before = time.read();
    time.learn(new Date(update.time));
    if (!before.trusted) emit({ kind: 'clock-trusted', now: time.read().now });
  }

  private async apply(update: Update, digest: Sha256): Promise<void> {
    const { held, busy, time, emit } = this.context;
    const state = held.current;
    checkKeyrings(state.keyrings, update);
    const opened = openEnvelopes(update, recipientsOf(state.identities));
    const after = applyKeyrings(state.keyrings, update, opened, busy, time.read().now);
    time.raise(new Date(update.issuedAt));
    try {
      await this.reporter.commit({
        ...this.withRenewal(state, update),
        keyrings: after.keyrings,
        lastSeq: update.seq,
        lastDigest: digest,
        results: withResult(state.results, after.result),
      });
    } finally {
      wipe(opened, held.current.keyrings);
    }
    emit({ kind: 'update-applied', seq: update.seq, deferred: after.result.outcome === 'deferred' });
    this.tellActivated(after.activated);
    this.scheduleRetry();
  }

  private withRenewal(state: AgentState, update: Update): AgentState {
    const { identities } = state;
    const { current, next } = identities;
    if (update.renew === undefined || current === undefined || next !== undefined) return state;
    const now = this.context.time.read().now;
    const asked = renewalBefore(new Date(update.renew.by), now, current.certificate);
    const renewAt = identities.renewAt !== undefined && identities.renewAt < asked ? identities.renewAt : asked;
    return { ...state, identities: { ...identities, renewAt } };
  }

  private tellActivated(activated: readonly Activation[]): void {
    for (const one of activated) this.context.emit({ kind: 'activated', ...one });
  }

  /** What nobody signed is not repeated as if it were the gateway's number, unless its signature at least holds. */
  private seqToReport(error: unknown, verified: Seq, claimed: Seq | undefined): Seq {
    if (verified !== NO_SEQ) return verified;
    return errorCode(error) === 'message.signer-untrusted' && claimed !== undefined ? claimed : NO_SEQ;
  }

  private async refuse(seq: Seq, error: unknown): Promise<void> {
    const code = errorCode(error);
    this.context.log.warn({ seq, code }, errorMessage(error));
    this.context.emit({ kind: 'update-refused', seq, code });
    await this.reporter.refuse({ seq, outcome: 'refused', code });
  }

  private async catchUp(): Promise<void> {
    try {
      await this.trust.fetch();
    } catch (error) {
      this.context.fault('trust', error);
    }
  }
}
