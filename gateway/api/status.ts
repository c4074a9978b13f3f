/** What an error code means on the operator API: the one table. A new code does not compile without its status. */
import type { ErrorCode } from '#schema/errors.ts';

export type ApiErrorStatus = 400 | 401 | 403 | 404 | 409 | 413 | 429 | 500 | 503;

/**
 * 400: what was sent cannot be right, whoever sends it. 409: it could be, but not in the present state. 503: the same
 * request may succeed later. 500: our fault, or a state that only a person can mend.
 */
const STATUS: Readonly<Record<ErrorCode, ApiErrorStatus>> = {
  'der.malformed': 400,
  'base64.malformed': 400,
  'json.malformed': 400,
  'input.too-large': 413,
  'input.invalid': 400,
  'input.route-unknown': 404,

  'csr.malformed': 400,
  'csr.signature-invalid': 400,
  'csr.key-type-refused': 400,
  'csr.key-weak': 400,
  'csr.key-already-used': 409,
  'csr.subject-mismatch': 400,
  'csr.channel-binding-mismatch': 400,

  'certificate.malformed': 400,
  'certificate.untrusted': 400,
  'certificate.expired': 400,
  'certificate.not-yet-valid': 400,
  'certificate.revoked': 409,
  'certificate.superseded': 409,
  'certificate.unknown': 500,
  'certificate.lint-failed': 500,
  'certificate.invariant-broken': 500,
  'certificate.purpose-refused': 400,

  'message.malformed': 400,
  'message.signature-invalid': 400,
  'message.signer-untrusted': 409,
  'message.version-unsupported': 400,
  'message.wrong-realm': 400,
  'message.wrong-device': 400,
  'message.replayed': 409,
  'message.conflict': 409,
  'message.expired': 400,
  'envelope.malformed': 400,
  'envelope.wrong-recipient': 400,
  'envelope.integrity-failed': 400,
  'envelope.mismatch': 400,
  'key.kcv-mismatch': 500,

  'trust.link-missing': 409,
  'trust.link-forked': 409,
  'trust.rollback': 409,
  'trust.expired': 409,
  'trust.not-found': 404,
  'trust.root-mismatch': 400,

  'enrolment.unauthenticated': 401,
  'enrolment.code-invalid': 401,
  'enrolment.parked': 409,
  'enrolment.refused': 409,
  'enrolment.quarantined': 409,
  'enrolment.rate-limited': 429,
  'enrolment.label-unknown': 404,

  'device.not-found': 404,
  'device.exists': 409,
  'device.state-refused': 409,
  'inventory.invalid': 400,
  'report.regressed': 409,
  'report.forked': 409,
  'device.busy': 409,

  'keyset.not-found': 404,
  'keyset.rotation-under-way': 409,
  'keyset.version-not-found': 404,
  'keyset.state-refused': 409,
  'rollout.not-found': 404,
  'rollout.state-refused': 409,
  'rollout.devices-depend': 409,

  'operator.unauthenticated': 401,
  'operator.rate-limited': 429,
  'operator.forbidden': 403,
  'operator.not-found': 404,
  'operator.exists': 409,
  'approval.not-found': 404,
  'alert.not-found': 404,
  'approval.required': 403,
  'approval.self': 403,
  'approval.expired': 409,
  'approval.hash-mismatch': 409,
  'approval.interrupted': 409,
  'approval.closed': 409,
  'audit.broken': 500,
  'webhook.failed': 500,
  'audit.unavailable': 503,

  'config.invalid': 400,
  'config.missing': 500,
  'data.in-use': 500,
  'data.initialised': 500,
  'port.in-use': 500,
  'runtime.unsupported': 500,

  'hsm.module-missing': 503,
  'hsm.token-absent': 503,
  'hsm.pin-wrong': 503,
  'hsm.unavailable': 503,
  'hsm.key-not-found': 500,
  'hsm.key-exists': 409,
  'hsm.key-unsafe': 500,
  'hsm.mechanism-unsupported': 500,
  'hsm.unwrap-failed': 500,
  'store.unavailable': 503,
  'store.corrupt': 500,
  'store.schema-mismatch': 500,
  'broker.unavailable': 503,
  'broker.denied': 500,
  'network.unreachable': 503,
  'network.timeout': 503,

  'agent.not-enrolled': 500,
  'agent.running': 500,
  'agent.not-running': 500,
  'agent.state-corrupt': 500,
  'ticket.invalid': 400,

  'internal.unexpected': 500,
};

export function apiStatus(code: ErrorCode): ApiErrorStatus {
  return STATUS[code];
}

/** Seconds of `Retry-After` beside a 503 whose error names none. */
export const DEFAULT_RETRY_AFTER = 10;
