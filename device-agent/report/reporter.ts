/** Makes reports durable and sends them. A report is committed together with the change that it tells of. */
import type { UpdateResult } from '#schema/messages/report.ts';
import { reportTopic } from '#schema/topics.ts';
import type { AgentContext } from '../context.ts';
import type { Transport } from '../mqtt/transport.ts';
import { withResult, type AgentState, type IdentitySlot } from '../state/state.ts';
import { withNextReport } from './build.ts';
import { RefusalLimit } from './refusal-limit.ts';

/** An answer to a nonce that comes later than this says nothing about the time now. */
const NONCE_LIFE_MS = 5 * 60_000;
const NONCES_KEPT = 64;
const REPORT_JITTER = 0.1;

interface Connection {
  readonly transport: Transport;
  /** The identity that the connection was made with; it signs. */
  readonly slot: IdentitySlot;
}

export class Reporter {
  private readonly context: AgentContext;
  private readonly refusals: RefusalLimit;
  private connection: Connection | undefined;
  /** Counter of the latest report that the broker acknowledged in this process. */
  private acknowledged = 0;
  /** The results that an acknowledged report carried. */
  private told = new Set<UpdateResult>();
  /** Nonces of the latest reports, oldest first, with the time of the monotonic clock when they were made. */
  private readonly nonces = new Map<string, number>();

  constructor(context: AgentContext) {
    this.context = context;
    this.refusals = new RefusalLimit(context.timing.refusalIntervalMs);
  }

  /** A report that the broker has not acknowledged yet goes first, so that the chain of reports has no hole. */
  connected(transport: Transport, slot: IdentitySlot): void {
    this.connection = { transport, slot };
    if (this.acknowledged < this.context.held.current.report.counter) void this.repeat();
  }

  disconnected(): void {
    this.connection = undefined;
    this.context.deadlines.clear('report');
    this.context.deadlines.clear('refusals');
  }

  /**
   * Whether `nonce` is that of a report sent a short while ago. Not only of the latest: an update that was sent with
   * trust links arrives after the reports that each link has caused.
   */
  isFresh(nonce: string | null): boolean {
    const sentAt = nonce === null ? undefined : this.nonces.get(nonce);
    return sentAt !== undefined && this.context.clock.monotonic() - sentAt < NONCE_LIFE_MS;
  }

  /**
   * Commits `state`, with the next report if there is a connection to send it on: otherwise the report on connecting
   * tells of it. Must run in the agent's queue. Resolves when durable; `sent` resolves when acknowledged.
   */
  async commit(state: AgentState): Promise<{ readonly sent: Promise<void> }> {
    const { held, time } = this.context;
    const { connection } = this;
    const results = [...state.results.filter((result) => !this.told.has(result)), ...this.refusals.take()];
    const next = { ...state, results: results.reduce(withResult, []), clockFloor: time.read().floor };
    if (connection === undefined) {
      await held.commit(next);
      return { sent: Promise.resolve() };
    }
    const nonce = this.context.random.bytes(16).toString('base64url');
    const { bootId, agent } = this.context;
    const reported = await withNextReport(next, connection.slot, { bootId, nonce, time: time.read(), agent });
    await held.commit(reported);
    this.remember(nonce);
    this.scheduleNext();
    const { last, counter } = reported.report;
    return { sent: this.publish(last, counter, reported.results, false) };
  }

  /** Commits and sends a report without a change. Must run in the queue. */
  async report(): Promise<{ readonly sent: Promise<void> }> {
    return this.commit(this.context.held.current);
  }

  /** Sends the last report once more, as it is. */
  async repeat(): Promise<void> {
    const { report, results } = this.context.held.current;
    if (report.last === undefined || this.connection === undefined) return;
    await this.publish(report.last, report.counter, results, true);
  }

  /** Reports a refusal: the first of its kind at once, more of them a while later, together. Must run in the queue. */
  async refuse(result: UpdateResult): Promise<void> {
    const { held, clock, deadlines, timing, queue, fault } = this.context;
    if (this.refusals.admit(result, clock.monotonic())) {
      const state = held.current;
      await this.commit({ ...state, results: withResult(state.results, result) });
      return;
    }
    if (deadlines.isSet('refusals')) return;
    deadlines.set('refusals', timing.refusalIntervalMs, () => {
      if (!this.refusals.isHolding) return;
      queue.run(() => this.report()).catch((error: unknown) => fault('report', error));
    });
  }

  private remember(nonce: string): void {
    this.nonces.set(nonce, this.context.clock.monotonic());
    const oldest = this.nonces.keys().next().value;
    if (this.nonces.size > NONCES_KEPT && oldest !== undefined) this.nonces.delete(oldest);
  }

  private scheduleNext(): void {
    const { deadlines, timing, random, queue, fault } = this.context;
    const jitter = 1 + (random.fraction() * 2 - 1) * REPORT_JITTER;
    deadlines.set('report', timing.reportIntervalMs * jitter, () => {
      queue.run(() => this.report()).catch((error: unknown) => fault('report', error));
    });
  }

  /** Never rejects: a report that is lost is sent again on the next connection. */
  private async publish(
    der: Uint8Array,
    counter: number,
    results: readonly UpdateResult[],
    repeated: boolean,
  ): Promise<void> {
    const { held, emit, fault } = this.context;
    const { realm, device } = held.current.registration;
    try {
      await this.connection?.transport.publish(reportTopic(realm, device), der);
    } catch (error) {
      fault('report', error);
      return;
    }
    this.acknowledged = Math.max(this.acknowledged, counter);
    this.told = new Set(results);
    emit({ kind: 'report-sent', counter, bytes: der.length, repeated });
  }
}
