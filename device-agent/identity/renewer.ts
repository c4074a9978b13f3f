/** Renews the identity when it is due, again and again until it succeeds. */
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { Ticket } from '#schema/ticket.ts';
import type { AgentContext } from '../context.ts';
import { Backoff } from '../runtime/backoff.ts';
import { enrolWithTicket, renewIdentity, type EnrolmentOutcome } from './enrolment.ts';
import { isAnchored } from './anchored.ts';
import { renewalDue } from './renewal.ts';

export class Renewer {
  private readonly context: AgentContext;
  private readonly ticket: Ticket | undefined;
  /** Called when a next identity is held, to use it. */
  private readonly onRenewed: () => Promise<void>;
  /** Called when the gateway or what it issued is below an authority that is not known yet. */
  private readonly onUntrusted: () => Promise<void>;
  private readonly backoff: Backoff;
  private underWay: Promise<void> | undefined;
  /** Not before this time of the monotonic clock, since an attempt failed. */
  private notBefore = 0;
  private isTicketSpent = false;
  private isStopped = false;
  /** A certificate was obtained since the start, before the time was known. */
  private isIssuedInDoubt = false;

  constructor(
    context: AgentContext,
    ticket: Ticket | undefined,
    onRenewed: () => Promise<void>,
    onUntrusted: () => Promise<void>,
  ) {
    this.context = context;
    this.ticket = ticket;
    this.onRenewed = onRenewed;
    this.onUntrusted = onUntrusted;
    this.backoff = new Backoff(context.timing.backoffMinMs, context.timing.backoffMaxMs, context.random);
  }

  /** Enrols for the first time. Errors: those of `enrolWithTicket`, `agent.not-enrolled` without a ticket. */
  async enrol(): Promise<EnrolmentOutcome> {
    if (this.ticket === undefined) {
      throw new CroupierError('agent.not-enrolled', 'the device has neither a certificate nor a ticket');
    }
    const outcome = await enrolWithTicket(this.context, this.ticket);
    if (outcome === undefined) {
      this.isTicketSpent = true;
      this.noteIssued();
    }
    return outcome;
  }

  /** A device whose certificate is no longer accepted may have been given a new ticket. Its code is tried once. */
  async tryTicketAnew(): Promise<void> {
    if (this.ticket === undefined || this.isTicketSpent || this.isStopped) return;
    this.isTicketSpent = true;
    try {
      await enrolWithTicket(this.context, this.ticket);
    } catch (error) {
      this.context.fault('enrol', error);
    }
  }

  /** Sets the alarm for the next renewal. To be called whenever it may have changed. */
  schedule(): void {
    const { deadlines, clock } = this.context;
    const dueInMs = this.dueInMs();
    if (dueInMs === undefined || this.isStopped) return deadlines.clear('renewal');
    const waitMs = Math.max(dueInMs, this.notBefore - clock.monotonic());
    // An alarm may be shorter than the time until then, so it only looks again.
    deadlines.set('renewal', waitMs, () => void this.renewIfDue());
  }

  /** Renews if it is time. Never rejects. */
  async renewIfDue(): Promise<void> {
    const dueInMs = this.dueInMs();
    if (dueInMs === undefined) return;
    if (dueInMs > 0 || this.notBefore > this.context.clock.monotonic()) return this.schedule();
    await this.renew();
  }

  /** Renews now. Never rejects: a failure is told, and tried again later. */
  async renew(): Promise<void> {
    this.underWay ??= this.attempt().finally(() => {
      this.underWay = undefined;
    });
    await this.underWay;
  }

  /**
   * The broker does not take the current certificate. EST may know what to do: a gateway that was restored from a backup
   * has lost the record of it, and parks a request. Not more often than attempts follow each other. Never rejects.
   */
  async renewRefused(): Promise<void> {
    if (this.notBefore <= this.context.clock.monotonic()) await this.renew();
  }

  /** Starts nothing new; resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await this.underWay;
  }

  private dueInMs(): number | undefined {
    const { held, time } = this.context;
    const { identities } = held.current;
    const { bundle } = held;
    const isTrusted =
      identities.current === undefined || bundle === undefined || isAnchored(identities.current, bundle);
    const due = renewalDue(identities, isTrusted);
    if (due === undefined) return undefined;
    const { now, trusted } = time.read();
    // What has just been issued is due again only by a clock that is wrong, unless the gateway asks: it will tell the time.
    const isAsked = !isTrusted || identities.renewAt !== undefined;
    return !isAsked && !trusted && this.isIssuedInDoubt ? undefined : due.getTime() - now.getTime();
  }

  private noteIssued(): void {
    if (!this.context.time.read().trusted) this.isIssuedInDoubt = true;
  }

  private async attempt(): Promise<void> {
    if (this.isStopped) return;
    try {
      const isHeld = this.context.held.current.identities.next !== undefined;
      const outcome = isHeld ? undefined : await renewIdentity(this.context);
      if (outcome === undefined) {
        this.noteIssued();
        this.backoff.reset();
        await this.onRenewed();
        return;
      }
      this.context.emit({ kind: 'parked', ...outcome });
      this.retryIn(outcome.retryAfterMs);
    } catch (error) {
      const waitMs = this.backoff.next(error instanceof CroupierError ? (error.retryAfter ?? 0) * 1000 : 0);
      this.context.fault('renew', error, waitMs);
      if (errorCode(error) === 'certificate.untrusted') await this.onUntrusted();
      if (errorCode(error).startsWith('enrolment.')) await this.tryTicketAnew();
      this.retryIn(waitMs);
    }
  }

  private retryIn(waitMs: number): void {
    const { clock, deadlines } = this.context;
    this.notBefore = clock.monotonic() + waitMs;
    if (!this.isStopped) deadlines.set('renewal', waitMs, () => void this.renew());
  }
}
