/** One POST of a webhook: bounded in time and size, redirects not followed, the connection kept for the next one. */
import { Buffer } from 'node:buffer';
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '#schema/runtime/clock.ts';
import type { PostOutcome, WebhookSender } from '#gateway/audit/webhooks.ts';

export interface SenderOptions {
  readonly url: string;
  /** PEM certificates to trust instead of those of the system. */
  readonly ca: string | undefined;
  /** For the whole exchange. */
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** Of an answer so much is read, and thrown away, so that the connection can be used again. */
const MOST_ANSWER = 64 * 1024;
const LONGEST_RETRY_AFTER_MS = 3_600_000;
/** Answers that concern the receiver, not the record (RFC 9110): Request Timeout, Too Early, Too Many Requests. */
const NOT_NOW: ReadonlySet<number> = new Set([408, 425, 429]);

interface Attempt {
  readonly outcome: PostOutcome;
  /** A connection kept from before was gone: the other side had closed it while it was idle. */
  readonly isStale: boolean;
}

const unreachable = (fault: string, retryAfterMs = 0): PostOutcome => ({ kind: 'unreachable', fault, retryAfterMs });

/** Seconds (RFC 9110, 10.2.3); the form with a date is not looked at. */
function retryAfterMs(header: string | undefined): number {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Math.min(LONGEST_RETRY_AFTER_MS, Number(header) * 1000) : 0;
}

function judge({ statusCode = 0, headers }: http.IncomingMessage): PostOutcome {
  if (statusCode >= 200 && statusCode < 300) return { kind: 'taken' };
  const fault = `it answered ${statusCode}`;
  if (statusCode >= 500 || NOT_NOW.has(statusCode)) return unreachable(fault, retryAfterMs(headers['retry-after']));
  return { kind: 'refused', fault: statusCode < 400 ? `${fault}, and redirects are not followed` : fault };
}

const codeOf = (error: Error): string => ('code' in error ? String(error.code) : error.message);

function agentFor(url: URL, ca: string | undefined): http.Agent | https.Agent {
  const kept = { keepAlive: true, maxSockets: 1 };
  if (url.protocol === 'http:') return new http.Agent(kept);
  return new https.Agent({ ...kept, ...(ca === undefined ? {} : { ca }), minVersion: 'TLSv1.2' });
}

export function createWebhookSender(options: SenderOptions): WebhookSender {
  const { timeoutMs, clock } = options;
  const url = new URL(options.url);
  const agent = agentFor(url, options.ca);
  const { request: open } = url.protocol === 'http:' ? http : https;

  const attempt = (body: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Attempt> =>
    new Promise((resolve) => {
      const content = Buffer.from(body, 'utf8');
      const request = open(url, {
        method: 'POST',
        agent,
        signal,
        headers: {
          'content-type': 'application/json',
          'content-length': content.length,
          'user-agent': 'croupier',
          ...headers,
        },
      });
      let isLate = false;
      let isAnswered = false;
      const cancel = clock.after(timeoutMs, () => {
        isLate = true;
        request.destroy();
      });
      const settle = (outcome: PostOutcome, isStale = false): void => {
        cancel();
        resolve({ outcome, isStale });
      };
      request.once('response', (response) => {
        isAnswered = true;
        const outcome = judge(response);
        let octets = 0;
        response.on('data', (chunk: Uint8Array) => {
          octets += chunk.length;
          if (octets > MOST_ANSWER) request.destroy();
        });
        // An answer that breaks off has been given all the same.
        response.on('error', () => {});
        response.once('close', () => settle(outcome));
      });
      request.on('error', (error) => {
        if (isAnswered) return;
        const isStale = request.reusedSocket && !isLate && ['ECONNRESET', 'EPIPE'].includes(codeOf(error));
        settle(unreachable(isLate ? `no answer within ${timeoutMs} ms` : codeOf(error)), isStale);
      });
      request.end(content);
    });

  return {
    post: async (body, headers, signal) => {
      const first = await attempt(body, headers, signal);
      return first.isStale ? (await attempt(body, headers, signal)).outcome : first.outcome;
    },
    close: () => agent.destroy(),
  };
}
