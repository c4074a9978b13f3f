/** EST client (RFC 7030, RFC 8951): cacerts, csrattrs, simpleenroll, simplereenroll. Each call is one connection. */
import { Buffer } from 'node:buffer';
import { decodeCertsOnly } from '#pki/cms/certs-only.ts';
import { decodeBase64, encodeBase64 } from '#pki/est/base64.ts';
import { decodeCsrAttrs, type CsrAttributes } from '#pki/est/csrattrs.ts';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import { connectTls, type TlsIdentity, type TlsRequest } from '../tls/connect.ts';
import { exchange, type HttpAnswer } from './http.ts';

export interface EstServer {
  /** e.g. https://gateway:8443 */
  readonly url: string;
  readonly label?: string | undefined;
  readonly trust: TlsRequest['trust'];
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export type EstCredential =
  | { readonly kind: 'ticket'; readonly device: string; readonly code: string }
  | { readonly kind: 'certificate'; readonly identity: TlsIdentity };

export type EnrolAnswer =
  | { readonly kind: 'issued'; readonly certificate: Uint8Array }
  /** 202: the same request is to be sent again. */
  | { readonly kind: 'parked'; readonly retryAfterMs: number };

const MAXIMUM_ANSWER = 256 * 1024;
const DEFAULT_RETRY_SECONDS = 60;
const MAXIMUM_RETRY_SECONDS = 24 * 3600;

function estUrl(server: EstServer, operation: string): URL {
  const label = server.label === undefined ? '' : `/${encodeURIComponent(server.label)}`;
  return new URL(`/.well-known/est${label}/${operation}`, server.url);
}

/** Seconds of a Retry-After header: a number or an HTTP date (RFC 9110, 10.2.3), bounded. */
export function retryAfterSeconds(header: string | undefined, now: Date): number | undefined {
  if (header === undefined) return undefined;
  const seconds = /^\d{1,9}$/.test(header) ? Number(header) : Math.ceil((Date.parse(header) - now.getTime()) / 1000);
  return Number.isNaN(seconds) ? undefined : Math.min(MAXIMUM_RETRY_SECONDS, Math.max(1, seconds));
}

async function call(
  server: EstServer,
  operation: string,
  identity: TlsIdentity | undefined,
  request: { readonly body?: string; readonly headers?: Readonly<Record<string, string>> },
): Promise<HttpAnswer> {
  const url = estUrl(server, operation);
  const { trust, timeoutMs, signal } = server;
  const port = url.port === '' ? 443 : Number(url.port);
  const socket = await connectTls({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port,
    identity,
    trust,
    timeoutMs,
    signal,
  });
  try {
    const method = request.body === undefined ? 'GET' : 'POST';
    return await exchange({ url, method, socket, timeoutMs, signal, maxBytes: MAXIMUM_ANSWER, ...request });
  } finally {
    socket.destroy();
  }
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'enrolment.refused',
  401: 'enrolment.code-invalid',
  403: 'enrolment.refused',
  404: 'enrolment.label-unknown',
  429: 'enrolment.rate-limited',
};

/** The reason that the server gives (RFC 8951, 5), one line, printable. */
function reasonOf({ headers, body }: HttpAnswer): string {
  if (!/^text\/plain\b/i.test(headers['content-type'] ?? '')) return '';
  const text = body
    .toString('utf8')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim();
  return text === '' ? '' : `: ${text.slice(0, 200)}`;
}

function refusal(answer: HttpAnswer, operation: string): CroupierError {
  const { status, headers } = answer;
  const retryAfter = retryAfterSeconds(headers['retry-after'], new Date());
  const code = CODES[status] ?? 'network.unreachable';
  return new CroupierError(code, `the gateway answers ${status} to ${operation}${reasonOf(answer)}`, {
    detail: { status },
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

const bodyOf = (answer: HttpAnswer): Uint8Array => decodeBase64(answer.body, { maxBytes: MAXIMUM_ANSWER });

/**
 * The CA certificates, DER. They are proven by nothing but the connection: with `unauthenticated` trust, compare the
 * root's fingerprint before anything else. Errors: `network.*`, `certificate.*`, `base64.malformed`,
 * `message.malformed`.
 */
export async function fetchCaCerts(server: EstServer): Promise<Uint8Array[]> {
  const answer = await call(server, 'cacerts', undefined, {});
  if (answer.status !== 200) throw refusal(answer, 'cacerts');
  return decodeCertsOnly(bodyOf(answer));
}

/** What the server wants in a CSR; undefined if it says nothing (204, 404). Errors: as `fetchCaCerts`. */
export async function fetchCsrAttributes(server: EstServer): Promise<CsrAttributes | undefined> {
  const answer = await call(server, 'csrattrs', undefined, {});
  if (answer.status === 204 || answer.status === 404) return undefined;
  if (answer.status !== 200) throw refusal(answer, 'csrattrs');
  return decodeCsrAttrs(bodyOf(answer));
}

/**
 * Sends a CSR, DER: simpleenroll with a ticket's code, simplereenroll with a certificate. The certificate returned is
 * not verified. A repetition after a lost answer must carry the same bytes.
 * Errors: `enrolment.*` (with `retryAfter` where the server gave one), `network.*`, `certificate.*`, `base64.malformed`,
 * `message.malformed`.
 */
export async function enrol(server: EstServer, csr: Uint8Array, credential: EstCredential): Promise<EnrolAnswer> {
  const operation = credential.kind === 'ticket' ? 'simpleenroll' : 'simplereenroll';
  const headers: Record<string, string> = {
    'Content-Type': 'application/pkcs10',
    'Content-Transfer-Encoding': 'base64',
  };
  if (credential.kind === 'ticket') {
    const basic = Buffer.from(`${credential.device}:${credential.code}`).toString('base64');
    headers['Authorization'] = `Basic ${basic}`;
  }
  const identity = credential.kind === 'certificate' ? credential.identity : undefined;
  const answer = await call(server, operation, identity, { body: encodeBase64(csr), headers });
  if (answer.status === 202) {
    const seconds = retryAfterSeconds(answer.headers['retry-after'], new Date()) ?? DEFAULT_RETRY_SECONDS;
    return { kind: 'parked', retryAfterMs: seconds * 1000 };
  }
  if (answer.status !== 200) throw refusal(answer, operation);
  const [certificate, ...more] = decodeCertsOnly(bodyOf(answer));
  if (certificate === undefined || more.length > 0) {
    throw new CroupierError('message.malformed', `the answer to ${operation} holds not exactly one certificate`);
  }
  return { kind: 'issued', certificate };
}
