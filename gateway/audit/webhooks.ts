/**
 * Webhooks: each follows the audit trail with a cursor of its own and posts what it is configured for, in order, at
 * least once. None waits for another, and nothing waits for them. Format: docs/webhooks.md.
 */
import type { AuditRecord } from '#schema/audit.ts';
import type { WebhookConfig } from '#schema/config.ts';
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { resendDelay } from '#gateway/delivery/backoff.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { AuditStore } from '#gateway/ports/store/audit.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { webhookFilter, webhookPayload } from './webhooks-filter.ts';
import { webhookHeaders, type WebhookSecret } from './webhooks-signature.ts';

export type PostOutcome =
  | { readonly kind: 'taken' }
  /** It answered, and does not want this record. */
  | { readonly kind: 'refused'; readonly fault: string }
  /** No answer, or one that says it is not well: none would be taken now. */
  | { readonly kind: 'unreachable'; readonly fault: string; readonly retryAfterMs: number };

export interface WebhookSender {
  /** One attempt, bounded in time. Never rejects. `signal` ends it early. */
  post(body: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<PostOutcome>;
  /** Ends the connection. */
  close(): void;
}

/** A webhook with what its files hold. */
export interface WebhookSetup {
  readonly config: WebhookConfig;
  readonly secrets: readonly WebhookSecret[];
  readonly sender: WebhookSender;
}

export interface WebhookPorts {
  readonly store: AuditStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'webhooks'>;
}

export interface WebhookLag {
  readonly name: string;
  /** How long the record that is to be delivered next has waited; 0 when none is known to wait. */
  readonly seconds: number;
}

export interface Webhooks {
  lags(): readonly WebhookLag[];
  /** Ends what is under way, without waiting for its answer. It is sent again after the next start. */
  stop(): Promise<void>;
}

interface Webhook {
  ring(): void;
  lag(): WebhookLag;
  stop(): Promise<void>;
}

/** Records read at a time: few, since each page is parsed in one go. */
const PAGE = 64;
/** After so many deliveries the cursor is saved on the way; a crash repeats no more than these. */
const SAVE_EVERY = 50;
/** Records of other processes ring no bell here. */
const LOOK_MS = 5_000;
const RETRY = { resendAfter: 1_000, resendMax: 300_000 };

/** Records passed over in one go. */
interface GivenUp {
  readonly first: number;
  last: number;
  records: number;
  /** Of these, how many may be told about: to tell of a lost `webhook.failed` would lead to the next one. */
  toTell: number;
  readonly fault: string;
}

function createWebhook(
  { config, secrets, sender }: WebhookSetup,
  start: number,
  { store, clock, random, log, metrics }: WebhookPorts,
): Webhook {
  const { name } = config;
  const isWanted = webhookFilter(name, config.events);
  const stopping = new AbortController();
  let cursor = start;
  let saved = start;
  let unsaved = 0;
  let failures = 0;
  /** Of the monotonic clock. */
  let notBefore = 0;
  let waiting: AuditRecord | undefined;

  const save = async (): Promise<void> => {
    unsaved = 0;
    if (saved === cursor) return;
    const seq = cursor;
    await store.saveWebhookCursor(name, seq);
    saved = seq;
  };

  const backOff = (leastMs: number): number => {
    const waitMs = Math.max(leastMs, resendDelay(failures, RETRY, random.fraction()));
    failures += 1;
    notBefore = clock.monotonic() + waitMs;
    worker.ringAt(new Date(clock.now().getTime() + waitMs));
    return waitMs;
  };

  const isTooOld = ({ time }: AuditRecord): boolean => clock.now().getTime() - Date.parse(time) > config.maxAge;

  const post = (record: AuditRecord): Promise<PostOutcome> => {
    const body = JSON.stringify(webhookPayload(record));
    return sender.post(body, webhookHeaders(secrets, record.id, clock.now(), body), stopping.signal);
  };

  const giveUp = (record: AuditRecord, fault: string, before?: GivenUp): GivenUp => {
    const given = before ?? { first: record.seq, last: record.seq, records: 0, toTell: 0, fault };
    given.last = record.seq;
    given.records += 1;
    if (record.action !== 'webhook.failed') given.toTell += 1;
    metrics.webhooks(name, 'given-up');
    return given;
  };

  const tell = async ({ first, last, records, toTell, fault }: GivenUp): Promise<void> => {
    log.error({ webhook: name, first, last, records }, `webhook ${name}: ${records} records given up: ${fault}`);
    if (toTell === 0) return;
    await store.appendAudit(
      [
        {
          action: 'webhook.failed',
          outcome: 'error',
          code: 'webhook.failed',
          actor: { type: 'gateway', id: 'webhook' },
          object: { type: 'webhook', id: name },
          details: { first, last, records, fault },
        },
      ],
      clock.now(),
    );
  };

  /** Whether the trail can be followed on. */
  const deliver = async (record: AuditRecord): Promise<'done' | 'wait' | GivenUp> => {
    waiting = record;
    const outcome = await post(record);
    if (outcome.kind === 'taken') {
      waiting = undefined;
      failures = 0;
      unsaved += 1;
      metrics.webhooks(name, 'delivered');
      return 'done';
    }
    if (stopping.signal.aborted) return 'wait';
    metrics.webhooks(name, 'failed');
    const { fault } = outcome;
    if (isTooOld(record)) {
      const given = giveUp(record, fault);
      if (outcome.kind === 'unreachable') return given;
      await tell(given);
      waiting = undefined;
      return 'done';
    }
    const retryInMs = backOff(outcome.kind === 'unreachable' ? outcome.retryAfterMs : 0);
    log.warn({ webhook: name, seq: record.seq, attempt: failures, retryInMs }, `webhook ${name} not taken: ${fault}`);
    return 'wait';
  };

  /** Follows the trail to its end, or to what has to wait. What is too old for a receiver that is away is passed over. */
  const follow = async (): Promise<void> => {
    let given: GivenUp | undefined;
    let position = cursor;
    for (let isMore = true; isMore;) {
      const page = await store.auditRecords(position, PAGE);
      isMore = page.length === PAGE;
      for (const record of page) {
        if (stopping.signal.aborted) return;
        if (isWanted(record)) {
          if (given !== undefined && !isTooOld(record)) {
            isMore = false;
            break;
          }
          const result: Awaited<ReturnType<typeof deliver>> =
            given === undefined ? await deliver(record) : giveUp(record, given.fault, given);
          if (result === 'wait') return;
          if (result !== 'done') given = result;
        }
        position = record.seq;
        if (given === undefined) cursor = position;
        if (unsaved >= SAVE_EVERY) await save();
      }
      // Whoever else has work gets a turn, however long the trail is.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    if (given === undefined) return;
    await tell(given);
    cursor = given.last;
    waiting = undefined;
    backOff(0);
  };

  const lookIn = (ms: number): void => worker.ringAt(new Date(clock.now().getTime() + ms));

  const worker: Worker = createWorker(
    clock,
    async () => {
      const pauseMs = notBefore - clock.monotonic();
      if (pauseMs > 0) {
        lookIn(pauseMs);
        return;
      }
      await follow();
      await save();
      if (!stopping.signal.aborted) lookIn(LOOK_MS);
    },
    (error) => {
      const retryInMs = backOff(0);
      log.error({ webhook: name, code: errorCode(error), retryInMs }, `webhook ${name}: ${errorMessage(error)}`);
    },
  );
  worker.ring();

  return {
    ring: () => worker.ring(),
    lag: () => ({
      name,
      seconds: waiting === undefined ? 0 : Math.max(0, (clock.now().getTime() - Date.parse(waiting.time)) / 1000),
    }),
    stop: async () => {
      stopping.abort();
      await worker.stop();
      sender.close();
    },
  };
}

/**
 * Starts the webhooks, each where it stopped; a new one at the present end of the trail. Errors: `store.unavailable`,
 * `store.corrupt`.
 */
export async function startWebhooks(setups: readonly WebhookSetup[], ports: WebhookPorts): Promise<Webhooks> {
  const { store } = ports;
  const begin = async (name: string): Promise<number> => {
    const known = await store.webhookCursor(name);
    if (known !== undefined) return known;
    const { seq } = await store.auditHead();
    await store.saveWebhookCursor(name, seq);
    return seq;
  };
  const starts: number[] = [];
  for (const { config } of setups) starts.push(await begin(config.name));
  const webhooks = setups.map((setup, index) => createWebhook(setup, starts[index] ?? 0, ports));
  const unwatch = store.watchAudit(() => webhooks.forEach((webhook) => webhook.ring()));
  return {
    lags: () => webhooks.map((webhook) => webhook.lag()),
    stop: async () => {
      unwatch();
      await Promise.all(webhooks.map((webhook) => webhook.stop()));
    },
  };
}
