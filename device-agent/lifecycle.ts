/** The life of one agent: enrol, connect, stay connected, renew, begin again. One loop, one queue, few timers. */
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { Seq, type TrustVersion } from '#schema/ids.ts';
import type { Ticket } from '#schema/ticket.ts';
import { statusTopic, trustLinkTopic, trustTopic, updateTopic } from '#schema/topics.ts';
import { serverTrust, type AgentContext } from './context.ts';
import type { AgentActivity, AgentEvent, AgentPhase, AgentStatus } from './events.ts';
import { materialOf } from './identity/material.ts';
import { Renewer } from './identity/renewer.ts';
import { renewalDue } from './identity/renewal.ts';
import type { Transport, TransportFactory } from './mqtt/transport.ts';
import { Reporter } from './report/reporter.ts';
import { Backoff } from './runtime/backoff.ts';
import type { AgentState, IdentitySlot } from './state/state.ts';
import { TrustKeeper } from './trust/keeper.ts';
import { UpdateIntake } from './update/intake.ts';

/** Messages beyond this many unprocessed ones are dropped: the gateway answers the next report anew. */
const MAX_BACKLOG = 64;
/** A connection that lasted this long was a good one. */
const STABLE_MS = 30_000;
const NO_SEQ = Seq.parse(0);

export class Lifecycle {
  private readonly context: AgentContext;
  private readonly transport: TransportFactory;
  /** Aborts the context's signal. */
  private readonly onHalt: () => void;
  private readonly reporter: Reporter;
  private readonly trust: TrustKeeper;
  private readonly intake: UpdateIntake;
  private readonly connectBackoff: Backoff;
  private readonly renewer: Renewer;
  private phase: AgentPhase = 'stopped';
  private problem: AgentStatus['problem'];
  private connection: Transport | undefined;
  private isStopping = false;
  private wake: () => void = () => undefined;
  private loop: Promise<void> = Promise.resolve();
  /** The identity that the broker refused last. */
  private refused: IdentitySlot | undefined;

  constructor(context: AgentContext, transport: TransportFactory, ticket: Ticket | undefined, onHalt: () => void) {
    this.context = context;
    this.onHalt = onHalt;
    this.transport = transport;
    this.reporter = new Reporter(context);
    this.trust = new TrustKeeper(context, (state) => this.reporter.commit(state));
    this.intake = new UpdateIntake(context, this.reporter, this.trust);
    const { backoffMinMs, backoffMaxMs } = context.timing;
    this.connectBackoff = new Backoff(backoffMinMs, backoffMaxMs, context.random);
    this.renewer = new Renewer(
      context,
      ticket,
      async () => this.connection?.close(),
      () => this.learnTrust(),
    );
  }

  start(): void {
    this.loop = this.run();
  }

  /** Ends everything in order; what was queued is done first. */
  async stop(): Promise<void> {
    this.halt();
    await this.connection?.close();
    await this.loop;
    await this.renewer.stop();
    await this.context.queue.idle();
    this.context.held.close();
    this.phase = 'stopped';
  }

  kill(): void {
    this.context.held.close();
    this.halt();
    this.connection?.destroy();
    this.phase = 'stopped';
  }

  private halt(): void {
    this.isStopping = true;
    this.onHalt();
    this.context.deadlines.clearAll();
    this.wake();
  }

  status(): AgentStatus {
    const { held, time } = this.context;
    const { identities, lastSeq, report } = held.current;
    const { now, trusted } = time.read();
    const { current } = identities;
    const renewAt = renewalDue({ ...identities, next: undefined });
    return {
      phase: this.phase,
      lastSeq,
      trustVersion: this.trust.version,
      reportCounter: report.counter,
      clock: { now, trusted },
      identity:
        current === undefined || renewAt === undefined
          ? undefined
          : { serial: materialOf(current).serial, notAfter: materialOf(current).notAfter, renewAt },
      problem: this.problem,
    };
  }

  async importTrust(links: readonly Uint8Array[]): Promise<TrustVersion> {
    const { queue } = this.context;
    return queue.run(async () => {
      await this.trust.accept(links);
      await this.intake.resume();
      this.renewer.schedule();
      return this.trust.version;
    });
  }

  async report(): Promise<void> {
    const { sent } = await this.context.queue.run(() => this.reporter.report());
    await sent;
  }

  /** Renews now. Never rejects. */
  renew(): Promise<void> {
    return this.renewer.renew();
  }

  /** Tells of an error that the agent goes on after. */
  noteFault(activity: AgentActivity, error: unknown, retryAfterMs?: number): void {
    if (this.isStopping) return;
    const { log, emit } = this.context;
    const code = errorCode(error);
    const message = errorMessage(error);
    this.problem = { activity, code, message };
    const retry = retryAfterMs === undefined ? {} : { retryAfterMs };
    if (code === 'internal.unexpected') log.error({ activity, code, err: error, ...retry }, message);
    else log.warn({ activity, code, ...retry }, message);
    const event: AgentEvent = { kind: 'error', activity, code, message, ...retry };
    emit(event);
  }

  private async run(): Promise<void> {
    while (!this.isStopping) {
      const { current } = this.context.held.current.identities;
      const activity = current === undefined ? 'enrol' : 'connect';
      try {
        const waitMs = current === undefined ? await this.enrol() : await this.connectAndStay();
        if (waitMs > 0) await this.pause(waitMs);
      } catch (error) {
        const asked = error instanceof CroupierError ? (error.retryAfter ?? 0) * 1000 : 0;
        const waitMs = this.connectBackoff.next(asked);
        this.phase = 'waiting';
        this.context.fault(activity, error, waitMs);
        if (activity === 'enrol' && errorCode(error) === 'certificate.untrusted') await this.learnTrust();
        await this.pause(waitMs);
      }
    }
  }

  private async pause(ms: number): Promise<void> {
    if (this.isStopping) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const cancel = this.context.clock.after(ms, () => resolve(undefined));
    this.wake = () => resolve(undefined);
    await promise;
    cancel();
  }

  /** One attempt with the ticket; returns how long to wait before the next one. */
  private async enrol(): Promise<number> {
    if (this.phase !== 'parked') this.phase = 'enrolling';
    const outcome = await this.renewer.enrol();
    this.problem = undefined;
    if (outcome === undefined) {
      this.connectBackoff.reset();
      return 0;
    }
    this.phase = 'parked';
    this.context.emit({ kind: 'parked', ...outcome });
    return outcome.retryAfterMs;
  }

  /** One connection from beginning to end; returns how long to wait before the next one. */
  private async connectAndStay(): Promise<number> {
    const { held, clock, emit } = this.context;
    this.phase = 'connecting';
    await this.prepare();
    if (this.isStopping) return 0;
    const { promise: closed, resolve: close } = Promise.withResolvers<Error | undefined>();
    const slot = this.slotToUse();
    const { serial } = materialOf(slot);
    const transport = await this.connect(slot, close);
    const since = clock.monotonic();
    this.connection = transport;
    const wantsRenewed = held.current.identities.next;
    try {
      if (this.isStopping) await transport.close();
      else await this.welcome(transport, slot);
      const error = await closed;
      emit({ kind: 'disconnected', code: error === undefined ? undefined : errorCode(error) });
    } catch (error) {
      transport.destroy();
      throw error;
    } finally {
      this.connection = undefined;
      this.reporter.disconnected();
      this.context.log.debug({ serial }, 'disconnected');
    }
    if (clock.monotonic() - since > STABLE_MS) this.connectBackoff.reset();
    const isRenewed = held.current.identities.next !== undefined && held.current.identities.next !== wantsRenewed;
    return isRenewed || this.isStopping ? 0 : this.connectBackoff.next();
  }

  /** What is better done before connecting. None of it keeps a device from trying to connect. */
  private async prepare(): Promise<void> {
    const { held, queue } = this.context;
    if (held.bundle === undefined) {
      await queue.run(() => this.trust.fetch()).catch((error: unknown) => this.context.fault('trust', error));
    }
    await this.renewer.renewIfDue();
  }

  /** The next identity is used first; if the broker refused it, the current one once more. */
  private slotToUse(): IdentitySlot {
    const { current, next } = this.context.held.current.identities;
    const slot = next !== undefined && next !== this.refused ? next : current;
    if (slot === undefined) throw new CroupierError('agent.not-enrolled', 'the device has no certificate');
    return slot;
  }

  private async connect(slot: IdentitySlot, onClose: (error: Error | undefined) => void): Promise<Transport> {
    const { held, timing } = this.context;
    const { realm, device, mqtt } = held.current.registration;
    try {
      return await this.transport({
        url: mqtt,
        clientId: device,
        identity: slot,
        trust: serverTrust(this.context),
        subscriptions: [updateTopic(realm, device), trustLinkTopic(realm, device), trustTopic(realm)],
        will: { topic: statusTopic(realm, device), payload: JSON.stringify({ online: false }) },
        keepaliveSeconds: timing.keepaliveSeconds,
        timeoutMs: timing.timeoutMs,
        signal: this.context.signal,
        onMessage: (topic, payload) => this.receive(topic, payload),
        onClose,
      });
    } catch (error) {
      // A next identity gives way to the current one for one attempt, then has its turn again.
      this.refused = slot === this.refused ? undefined : slot;
      const isCurrent = slot === held.current.identities.current;
      await this.learnTrust();
      if (isCurrent && errorCode(error) === 'broker.denied') {
        await this.renewer.tryTicketAnew();
        await this.renewer.renewRefused();
      }
      throw error;
    }
  }

  /**
   * What is trusted by now, from the public listener, which needs no trust: the gateway's chain, or the CA of the device's
   * own certificate, may be below another root than the one known. Never rejects; the attempt that follows tells.
   */
  private async learnTrust(): Promise<void> {
    if (this.isStopping || this.context.held.current.root === undefined) return;
    await this.context.queue
      .run(() => this.trust.fetch())
      .catch((error: unknown) => {
        this.context.log.debug({ code: errorCode(error) }, `no trust links: ${errorMessage(error)}`);
      });
  }

  /** The first steps on a new connection: what it proves about the identity, the last report, a fresh report. */
  private async welcome(transport: Transport, slot: IdentitySlot): Promise<void> {
    const { held, queue, emit } = this.context;
    const { serial } = materialOf(slot);
    const isPromotion = held.current.identities.next === slot;
    this.phase = 'connected';
    this.problem = undefined;
    emit({ kind: 'connected', serial });
    await queue.run(async () => {
      this.reporter.connected(transport, slot);
      await this.reporter.commit(this.afterUse(held.current, slot));
    });
    this.refused = undefined;
    if (isPromotion) emit({ kind: 'promoted', serial });
    this.renewer.schedule();
    this.intake.scheduleRetry();
  }

  /** The next identity is the current one once it has been used. One that the broker refuses is given up. */
  private afterUse(state: AgentState, slot: IdentitySlot): AgentState {
    const { identities } = state;
    if (identities.next === undefined) return state;
    const current = identities.next === slot ? slot : identities.current;
    return { ...state, identities: { ...identities, current, next: undefined } };
  }

  private receive(topic: string, payload: Uint8Array): void {
    const { queue, held, fault } = this.context;
    const { realm, device } = held.current.registration;
    if (payload.length > MAX_MESSAGE_BYTES || queue.length > MAX_BACKLOG) {
      fault(
        'update',
        new CroupierError('input.too-large', `a message on ${topic} was dropped: too large, or too many`),
      );
      return;
    }
    // A copy: the payload is a view into what the socket delivered.
    const der = new Uint8Array(payload);
    if (topic === updateTopic(realm, device)) this.enqueue('update', () => this.takeUpdate(der));
    else if (topic === trustTopic(realm) || topic === trustLinkTopic(realm, device)) {
      this.enqueue('trust', () => this.takeLink(der));
    }
  }

  private enqueue(activity: AgentActivity, job: () => Promise<void>): void {
    this.context.queue.run(job).catch((error: unknown) => this.context.fault(activity, error));
  }

  private async takeUpdate(der: Uint8Array): Promise<void> {
    await this.intake.take(der);
    this.renewer.schedule();
  }

  private async takeLink(der: Uint8Array): Promise<void> {
    const before = this.trust.version;
    try {
      await this.trust.accept([der]);
      if (this.trust.isBehind) await this.trust.fetch();
    } catch (error) {
      this.context.fault('trust', error);
      const code = errorCode(error);
      if (code !== 'store.unavailable') await this.reporter.refuse({ seq: NO_SEQ, outcome: 'refused', code });
    }
    if (this.trust.version > before) {
      await this.intake.resume();
      this.renewer.schedule();
    }
  }
}
