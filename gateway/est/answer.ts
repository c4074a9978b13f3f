/**
 * Answers as EST clients can read them. Header names in canonical case and Content-* first, since libest compares case
 * and reads sixteen headers; never chunked; a body in base64 says so, since Bouncy Castle decodes it only then; 401 and
 * 202 without a body, since Bouncy Castle reads none there.
 */
import { Buffer } from 'node:buffer';
import { encodeCertsOnly } from '#pki/cms/certs-only.ts';
import { encodeBase64 } from '#pki/est/base64.ts';
import { CroupierError, ERROR_CATALOGUE, type ErrorCode } from '#schema/errors.ts';
import { RequestRefused } from './route.ts';
import { DEFAULT_RETRY_AFTER, estStatus } from './status.ts';

export interface Answer {
  readonly status: number;
  /** Names and values in turn, as `writeHead` takes them; without Content-Length. */
  readonly headers: readonly string[];
  readonly body: Buffer | undefined;
  /** Of a refusal. */
  readonly code?: ErrorCode;
}

/** How the base64 of cacerts and csrattrs is laid out. Enrolment answers are never wrapped. */
export type Base64Form = Parameters<typeof encodeBase64>[1];

/** libest cannot read one long line, strongSwan before 5.9.11 cannot read several. */
export function base64FormFor(userAgent: string | undefined): Base64Form {
  return /^(?:libest|cisco est)/i.test(userAgent ?? '') ? 'lines' : 'unwrapped';
}

const base64 = (type: string, der: Uint8Array, form: Base64Form): Answer => ({
  status: 200,
  headers: ['Content-Type', type, 'Content-Transfer-Encoding', 'base64'],
  body: Buffer.from(encodeBase64(der, form), 'latin1'),
});

export function caCertificates(certificates: readonly Uint8Array[], form: Base64Form): Answer {
  return base64('application/pkcs7-mime', encodeCertsOnly(certificates), form);
}

/** Without attributes: 204 (RFC 7030, 4.5.2). */
export function requestAttributes(der: Uint8Array | undefined, form: Base64Form): Answer {
  return der === undefined ? { status: 204, headers: [], body: undefined } : base64('application/csrattrs', der, form);
}

export function issued(certificate: Uint8Array): Answer {
  return base64('application/pkcs7-mime; smime-type=certs-only', encodeCertsOnly([certificate]), 'unwrapped');
}

export function pending(retryAfter: number): Answer {
  return { status: 202, headers: ['Retry-After', String(Math.max(1, Math.ceil(retryAfter)))], body: undefined };
}

const reason = (message: string, code: ErrorCode): Buffer =>
  Buffer.from(`${message} (${code})\n${ERROR_CATALOGUE[code].remedy}\n`, 'utf8');

const PLAIN = ['Content-Type', 'text/plain; charset=utf-8'] as const;

/**
 * What the client is told of an error. The header `Croupier-Error` carries the code wherever a body may not. Faults on
 * our side are named in general terms; the rest is in the log.
 */
export function refusal(error: unknown, realm: string): Answer {
  const known = error instanceof CroupierError ? error : new CroupierError('internal.unexpected');
  const { code, message } = known;
  const marked = ['Croupier-Error', code];
  if (known instanceof RequestRefused) {
    return {
      status: known.status,
      headers: [...PLAIN, ...known.headers, ...marked],
      body: reason(message, code),
      code,
    };
  }
  const status = estStatus(code);
  if (status === 401) {
    return { status, headers: ['WWW-Authenticate', `Basic realm="${realm}"`, ...marked], body: undefined, code };
  }
  const shown = status >= 500 && code !== 'enrolment.rate-limited' ? ERROR_CATALOGUE[code].summary : message;
  const retry =
    status === 503 ? ['Retry-After', String(Math.max(1, Math.ceil(known.retryAfter ?? DEFAULT_RETRY_AFTER)))] : [];
  return { status, headers: [...PLAIN, ...retry, ...marked], body: reason(shown, code), code };
}
