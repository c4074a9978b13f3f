/**
 * May this CSR have a certificate (D§6)? Pure. The request is parsed, proves possession of its key and names a known key
 * type; everything that depends on what the store knows is decided here.
 */
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { EnrolmentId, type DeviceClass, type DeviceId, type Sha256 } from '#schema/ids.ts';
import type { ClassPolicy, Policy } from '#schema/policy.ts';
import type { EnrolmentOutcome, EnrolmentState } from '#gateway/ports/store/enrolment.ts';
import type { CertificateIntent, CertificateRecord, DeviceRecord, TicketRecord } from '#gateway/ports/store/records.ts';
import { judgeClientCertificate } from './client-certificate.ts';
import { codeMatches } from './ticket-code.ts';

export type Credential =
  | { readonly kind: 'none' }
  | { readonly kind: 'ticket'; readonly code: string }
  | { readonly kind: 'certificate'; readonly fingerprint: Sha256 };

export interface EnrolmentFacts {
  readonly operation: 'simpleenroll' | 'simplereenroll';
  readonly credential: Credential;
  /** The EST label of the request: it must be the class of the device. */
  readonly label: DeviceClass | undefined;
  /** Device that the request names: the user name, or the common name of the CSR. */
  readonly claimed: DeviceId | undefined;
  /** Common name of the CSR, if it has one. */
  readonly commonName: string | undefined;
  readonly csr: Uint8Array;
  readonly csrSha256: Sha256;
  /** Id for the parked request, should there be one. */
  readonly requestId: string;
  readonly source: string | undefined;
  readonly now: Date;
  readonly policy: Policy;
  /** When the CA of this key was withdrawn. */
  readonly withdrawnAt: (issuer: string) => Date | undefined;
  /**
   * Serial number of the certificate presented, if its name is that of a device, and our Device CA signed it: looked at
   * when there is no record of it.
   */
  readonly unrecorded: () => string | undefined;
  /** Checks the key against the profile and builds the to-be-signed certificate. Errors: `csr.*`, `certificate.lint-failed`. */
  readonly prepare: (device: DeviceRecord, profile: ClassPolicy) => CertificateIntent;
}

type Refusal = Extract<EnrolmentOutcome, { kind: 'refuse' }>;

const actorOf = (facts: EnrolmentFacts, device: DeviceId | undefined): AuditActor =>
  device === undefined ? { type: 'anonymous', id: facts.source ?? 'unknown' } : { type: 'device', id: device };

function event(
  facts: EnrolmentFacts,
  device: DeviceId | undefined,
  outcome: AuditEvent['outcome'],
  code: ErrorCode | undefined,
  details: NonNullable<AuditEvent['details']>,
): AuditEvent {
  return {
    action: `enrolment.${facts.operation}`,
    outcome,
    ...(code === undefined ? {} : { code }),
    actor: actorOf(facts, device),
    ...(facts.source === undefined ? {} : { source: facts.source }),
    ...(device === undefined ? {} : { device }),
    object: { type: 'csr', id: facts.csrSha256 },
    details: { credential: facts.credential.kind, ...details },
  };
}

/** `shown` goes to the client; the code in the audit record may say more. */
function refuse(
  facts: EnrolmentFacts,
  device: DeviceId | undefined,
  code: ErrorCode,
  shown: CroupierError = new CroupierError(code),
): Refusal {
  return { kind: 'refuse', error: shown, audit: [event(facts, device, 'denied', code, {})] };
}

interface Grant {
  readonly device: DeviceRecord;
  readonly ticket: string | undefined;
  readonly request: EnrolmentId | undefined;
  /** The very same CSR got a certificate before and may have it again. */
  readonly repeat: CertificateRecord | undefined;
}

function repeatable(facts: EnrolmentFacts, state: EnrolmentState): CertificateRecord | undefined {
  const { repeated, presented } = state;
  if (repeated === undefined || (repeated.state !== 'issued' && repeated.state !== 'intended')) return undefined;
  // Who renews with the very certificate that the same request got has not lost the answer, and wants a later one.
  if (repeated.serial === presented?.serial || facts.now > repeated.notAfter) return undefined;
  return facts.now.getTime() - repeated.createdAt.getTime() <= facts.policy.enrolment.repeatWindow
    ? repeated
    : undefined;
}

/** One answer for every wrong code, so that nobody learns which devices have tickets. */
function invalidCode(
  facts: EnrolmentFacts,
  device: DeviceId | undefined,
  code: ErrorCode = 'enrolment.code-invalid',
): Refusal {
  return refuse(facts, device, code, new CroupierError('enrolment.code-invalid'));
}

function byTicket(facts: EnrolmentFacts, state: EnrolmentState, code: string): Grant | Refusal {
  const { device } = state;
  const matching: TicketRecord | undefined = state.tickets.find((ticket) => codeMatches(code, ticket));
  if (device === undefined || device.id !== facts.claimed || matching === undefined)
    return invalidCode(facts, device?.id);
  if (matching.consumedAt !== undefined) {
    const repeat = matching.consumedCsr === facts.csrSha256 ? repeatable(facts, state) : undefined;
    return repeat === undefined
      ? invalidCode(facts, device.id)
      : { device, ticket: undefined, request: undefined, repeat };
  }
  if (facts.now > matching.expiresAt) return invalidCode(facts, device.id);
  return { device, ticket: matching.id, request: undefined, repeat: undefined };
}

function byCertificate(facts: EnrolmentFacts, state: EnrolmentState): EnrolmentOutcome | Grant {
  const { presented, device } = state;
  if (presented === undefined) return byUnrecorded(facts, state);
  if (device === undefined) return refuse(facts, undefined, 'certificate.unknown');
  const grace = facts.policy.classes[device.class]?.grace ?? 0;
  const judgement = judgeClientCertificate(presented, device, facts.now, grace, facts.withdrawnAt(presented.issuer));
  if (judgement.good) return { device, ticket: undefined, request: undefined, repeat: repeatable(facts, state) };
  // Time is all that speaks against it: it is ours, the device's latest, and TLS has proved that its key is there.
  return judgement.code === 'certificate.expired'
    ? byExpired(facts, state, presented, device)
    : refuse(facts, device.id, judgement.code);
}

/**
 * Signed by our own CA, and yet without a record: it was issued after the backup that the gateway was restored from. It
 * vouches for nothing, since nobody knows what became of it; but it says whose request an engineer has to look at.
 */
function byUnrecorded(facts: EnrolmentFacts, state: EnrolmentState): EnrolmentOutcome | Grant {
  const { device, request } = state;
  const serial = facts.unrecorded();
  if (serial === undefined || device === undefined) return refuse(facts, undefined, 'certificate.unknown');
  if (device.state.kind === 'revoked') return refuse(facts, device.id, 'certificate.revoked');
  if (device.state.kind === 'quarantined') return refuse(facts, device.id, 'enrolment.quarantined');
  if (facts.commonName !== undefined && facts.commonName !== device.id)
    return refuse(facts, device.id, 'csr.subject-mismatch');
  if (request?.state === 'pending' && mayShowTicket(facts, state))
    return refuse(facts, device.id, 'enrolment.unauthenticated');
  return park(facts, state, 'certificate.unknown', { serial });
}

/** Beyond its grace a certificate vouches for nothing any more, but says whose request an engineer has to look at. */
function byExpired(
  facts: EnrolmentFacts,
  state: EnrolmentState,
  presented: CertificateRecord,
  device: DeviceRecord,
): EnrolmentOutcome | Grant {
  if (facts.commonName !== undefined && facts.commonName !== device.id)
    return refuse(facts, device.id, 'csr.subject-mismatch');
  // A ticket is quicker than waiting; a device that has one is told to show it.
  if (state.request?.state === 'pending' && mayShowTicket(facts, state))
    return refuse(facts, device.id, 'enrolment.unauthenticated');
  const withdrawn = facts.withdrawnAt(presented.issuer);
  return park(facts, state, 'certificate.expired', {
    serial: presented.serial,
    expired: presented.notAfter.toISOString(),
    ...(withdrawn === undefined ? {} : { issuerWithdrawn: withdrawn.toISOString() }),
  });
}

/** Whether the device has a ticket for this request. */
function mayShowTicket(facts: EnrolmentFacts, state: EnrolmentState): boolean {
  return state.tickets.some(({ consumedAt, consumedCsr, expiresAt }) =>
    consumedAt === undefined
      ? facts.now <= expiresAt
      : consumedCsr === facts.csrSha256 && repeatable(facts, state) !== undefined,
  );
}

/** `reason`: why nobody but a person can decide; it and `details` stand in the audit record. */
function park(
  facts: EnrolmentFacts,
  state: EnrolmentState,
  reason: 'enrolment.unauthenticated' | 'certificate.expired' | 'certificate.unknown',
  details: NonNullable<AuditEvent['details']> = {},
): EnrolmentOutcome | Grant {
  const { request, device } = state;
  const retryAfter = Math.ceil(facts.policy.enrolment.parkedRetry / 1000);
  switch (request?.state) {
    case 'refused':
      return refuse(facts, request.device, 'enrolment.refused');
    case 'pending':
      return { kind: 'wait', retryAfter };
    case 'approved':
    case 'issued': {
      // What was approved is one device: no other may take its place by the name in the request.
      if (device === undefined || device.id !== request.device)
        return refuse(facts, request.device, 'device.not-found');
      const repeat = request.state === 'issued' ? repeatable(facts, state) : undefined;
      if (request.state === 'issued' && repeat === undefined) return refuse(facts, device.id, 'enrolment.code-invalid');
      return { device, ticket: undefined, request: request.id, repeat };
    }
    case undefined:
  }
  // A device with a ticket for this has only forgotten to say so: clients that wait for the challenge get it.
  if (mayShowTicket(facts, state)) return refuse(facts, device?.id, 'enrolment.unauthenticated');
  if (state.pendingRequests >= facts.policy.enrolment.maxParked) {
    return refuse(
      facts,
      device?.id,
      'enrolment.rate-limited',
      new CroupierError('enrolment.rate-limited', 'too many requests wait for approval', { retryAfter }),
    );
  }
  return {
    kind: 'park',
    retryAfter,
    request: {
      id: EnrolmentId.parse(facts.requestId),
      csrSha256: facts.csrSha256,
      csr: facts.csr,
      device: device?.id,
      reason,
      source: facts.source,
      state: 'pending',
      requestedAt: facts.now,
      decidedAt: undefined,
      decidedBy: undefined,
    },
    audit: [event(facts, device?.id, 'success', 'enrolment.parked', { request: facts.requestId, reason, ...details })],
  };
}

/** What holds for every granted request, whoever vouches for it. */
function issue(facts: EnrolmentFacts, state: EnrolmentState, grant: Grant): EnrolmentOutcome {
  const { device } = grant;
  if (device.state.kind === 'quarantined' || device.state.kind === 'revoked')
    return refuse(facts, device.id, 'enrolment.quarantined');
  if (facts.label !== undefined && facts.label !== device.class) {
    return refuse(
      facts,
      device.id,
      'enrolment.label-unknown',
      new CroupierError('enrolment.label-unknown', `the label ${facts.label} is not the class of the device`),
    );
  }
  // A name that an engineer saw and gave to this device is no mismatch.
  if (grant.request === undefined && facts.commonName !== undefined && facts.commonName !== device.id)
    return refuse(facts, device.id, 'csr.subject-mismatch');
  if (state.keyOwner !== undefined && state.keyOwner !== device.id)
    return refuse(facts, device.id, 'csr.key-already-used');
  if (grant.repeat !== undefined) return { kind: 'repeat', certificate: grant.repeat };
  const profile = facts.policy.classes[device.class];
  if (profile === undefined)
    return refuse(
      facts,
      device.id,
      'config.invalid',
      new CroupierError('config.invalid', `the policy has no class ${device.class}`),
    );
  try {
    const intent = facts.prepare(device, profile);
    return {
      kind: 'issue',
      intent,
      ticket: grant.ticket,
      request: grant.request,
      audit: [
        event(facts, device.id, 'success', undefined, {
          serial: intent.serial,
          notAfter: intent.notAfter.toISOString(),
          key: intent.spkiSha256,
        }),
      ],
    };
  } catch (error) {
    if (error instanceof CroupierError) return refuse(facts, device.id, error.code, error);
    throw error;
  }
}

export function decideEnrolment(facts: EnrolmentFacts, state: EnrolmentState): EnrolmentOutcome {
  const { credential } = facts;
  if (facts.operation === 'simplereenroll' && credential.kind !== 'certificate')
    return refuse(facts, undefined, 'enrolment.unauthenticated');
  const result =
    credential.kind === 'ticket'
      ? byTicket(facts, state, credential.code)
      : credential.kind === 'certificate'
        ? byCertificate(facts, state)
        : park(facts, state, 'enrolment.unauthenticated');
  return 'kind' in result ? result : issue(facts, state, result);
}
