/**
 * What an error code means on the EST wire: the one table.
 *
 * Clients know few statuses: libest maps 403, 429 and 503 to "unknown error" and knows 400, 401, 404, 423, 500, 502 and
 * 504; strongSwan and Bouncy Castle show the number. So a refusal is 400 with its reason in the body, 401 asks for a
 * ticket (with an empty body, which Bouncy Castle insists on), 503 with Retry-After says that the same request may
 * succeed later, and 500 that it is our fault.
 */
import type { ErrorCode } from '#schema/errors.ts';

export type EstErrorStatus = 400 | 401 | 404 | 413 | 500 | 503;

type Area = ErrorCode extends infer Code ? (Code extends `${infer Name}.${string}` ? Name : never) : never;

/** By the area of the code, so that every code has a status; a new area does not compile without one. */
const AREAS: Readonly<Record<Area, EstErrorStatus>> = {
  der: 400,
  base64: 400,
  json: 400,
  input: 400,
  csr: 400,
  certificate: 400,
  message: 400,
  envelope: 400,
  key: 400,
  enrolment: 400,
  device: 400,
  inventory: 400,
  report: 400,
  ticket: 400,
  trust: 500,
  keyset: 500,
  rollout: 500,
  operator: 500,
  approval: 500,
  authority: 500,
  alert: 500,
  webhook: 500,
  config: 500,
  data: 500,
  port: 500,
  runtime: 500,
  agent: 500,
  internal: 500,
  audit: 503,
  hsm: 503,
  store: 503,
  broker: 503,
  network: 503,
};

const EXCEPTIONS: Readonly<Partial<Record<ErrorCode, EstErrorStatus>>> = {
  'input.too-large': 413,
  'enrolment.unauthenticated': 401,
  'enrolment.code-invalid': 401,
  // A certificate that is nobody's is no credential; a ticket would be one.
  'certificate.unknown': 401,
  'enrolment.label-unknown': 404,
  'enrolment.rate-limited': 503,
  // What we would have signed, or did sign, is wrong: not the client's fault, and no repetition mends it.
  'certificate.lint-failed': 500,
  'certificate.invariant-broken': 500,
  'store.corrupt': 500,
  'store.schema-mismatch': 500,
  'audit.broken': 500,
};

export function estStatus(code: ErrorCode): EstErrorStatus {
  const area = code.slice(0, code.indexOf('.')) as Area;
  return EXCEPTIONS[code] ?? AREAS[area];
}

/** Seconds of `Retry-After` beside a 503 whose error names none. */
export const DEFAULT_RETRY_AFTER = 10;
