/**
 * The one error type of Croupier and the catalogue of its codes.
 *
 * A code is stable: devices report it, operators search for it, documentation lists it (`docs/errors.md` is
 * generated from this table). What a code means on a wire (HTTP status, exit code) is decided at that edge alone.
 */

export interface ErrorEntry {
  /** What happened, in one sentence without values. */
  readonly summary: string;
  /** What to do next. */
  readonly remedy: string;
}

const entry = (summary: string, remedy: string): ErrorEntry => ({ summary, remedy });

export const ERROR_CATALOGUE = {
  // Encodings
  'der.malformed': entry(
    'The bytes are not the DER structure that belongs here.',
    'Send DER as the named RFC defines it.',
  ),
  'base64.malformed': entry('The body is not base64.', 'Send base64 of DER without other characters.'),
  'json.malformed': entry('The text is not JSON, or not the JSON expected here.', 'Correct the named field.'),
  'input.too-large': entry('The input exceeds its size limit.', 'Send less; the limit is in the message.'),
  'input.invalid': entry('An argument or field has a value that is not allowed.', 'Correct the named field.'),
  'input.route-unknown': entry('There is no such path on this listener.', 'See /v1/openapi.json of the operator API.'),

  // Certificate signing requests (RFC 2986)
  'csr.malformed': entry(
    'The certificate signing request cannot be parsed.',
    'Send a PKCS#10 request (RFC 2986), DER or PEM.',
  ),
  'csr.signature-invalid': entry(
    'The request is not signed by the key it carries.',
    'Sign the request with its own private key.',
  ),
  'csr.key-type-refused': entry(
    'The profile of this device class does not allow this key type.',
    'Use a key type that csrattrs names.',
  ),
  'csr.key-weak': entry('The public key is too weak or malformed.', 'Generate a fresh key of an allowed size.'),
  'csr.key-already-used': entry(
    'Another device has used this public key.',
    'Generate a key pair on the device itself.',
  ),
  'csr.subject-mismatch': entry(
    'The request names another device than the one that is asking.',
    'Send the common name of the ticket or certificate, or none.',
  ),
  'csr.channel-binding-mismatch': entry(
    'The challengePassword does not bind the request to this TLS connection.',
    'Compute the channel binding on the connection that carries the request.',
  ),

  // Certificates and chains (RFC 5280)
  'certificate.malformed': entry('The certificate cannot be parsed.', 'Send an X.509 certificate, DER.'),
  'certificate.untrusted': entry(
    'The certificate does not chain to an anchor trusted for this purpose.',
    'Use a certificate of this realm.',
  ),
  'certificate.expired': entry(
    'The certificate has expired.',
    'Renew it; beyond the grace period an engineer must issue a ticket.',
  ),
  'certificate.not-yet-valid': entry('The certificate is not valid yet.', 'Check the clocks of both sides.'),
  'certificate.revoked': entry(
    'The certificate is revoked.',
    'Ask a device engineer; a revoked device needs re-enrolment.',
  ),
  'certificate.superseded': entry(
    'The certificate is not the latest one of this device.',
    'Use the latest certificate.',
  ),
  'certificate.unknown': entry(
    'The certificate is ours by signature but has no record.',
    'Treat as an incident: run croupier doctor and audit verify.',
  ),
  'certificate.lint-failed': entry(
    'The certificate to be signed breaks a rule of its profile.',
    'Report this: nothing was signed.',
  ),
  'certificate.invariant-broken': entry(
    'The signed certificate breaks an invariant and was not released.',
    'Report this: the certificate stays recorded and unreleased.',
  ),
  'certificate.purpose-refused': entry(
    'The certificate may not be used for this purpose.',
    'Use a certificate issued for this purpose.',
  ),

  // CMS messages (RFC 5652, RFC 5083)
  'message.malformed': entry(
    'The message is not CMS of the expected shape, or its body fails the schema.',
    'Send SignedData as docs/messages.md describes.',
  ),
  'message.signature-invalid': entry(
    'The signature of the message does not verify.',
    'The message was altered or signed by another key.',
  ),
  'message.signer-untrusted': entry(
    'The signer of the message is not trusted for messages.',
    'Publish a trust bundle that names the signer.',
  ),
  'message.version-unsupported': entry(
    'The message has an unknown version number.',
    'Update the agent or the gateway.',
  ),
  'message.wrong-realm': entry(
    'The message belongs to another realm.',
    'Nothing crosses realms; check the configuration.',
  ),
  'message.wrong-device': entry('The message is for or from another device.', 'Check topics and certificates.'),
  'message.replayed': entry(
    'The message is not newer than one already processed.',
    'None: a repetition changes nothing.',
  ),
  'message.conflict': entry(
    'A different message with the same sequence number was already processed.',
    'Treat as an incident: two signers or a forked gateway.',
  ),
  'message.expired': entry('The message has expired by trusted time.', 'None: the gateway sends a fresh one.'),
  'envelope.malformed': entry(
    'The key envelope is not AuthEnvelopedData of the fixed shape.',
    'Send the structure that docs/messages.md describes.',
  ),
  'envelope.wrong-recipient': entry(
    'The envelope is for another key.',
    'None: the gateway seals again to the current certificate.',
  ),
  'envelope.integrity-failed': entry('The envelope fails its authentication tag.', 'The envelope was altered.'),
  'envelope.mismatch': entry(
    'The envelope holds another key than the message says.',
    'Treat as an incident: an envelope was moved.',
  ),
  'key.kcv-mismatch': entry(
    'The key does not match its check value.',
    'The gateway sends the key again; if it repeats, treat as an incident.',
  ),

  // Trust bundles
  'trust.link-missing': entry('A trust bundle does not follow the one held.', 'Fetch the links between, in order.'),
  'trust.link-forked': entry(
    'A trust bundle does not descend from the one held.',
    'Treat as an incident: two histories exist.',
  ),
  'trust.rollback': entry('The trust bundle is older than the one held.', 'None: a device never goes back.'),
  'trust.expired': entry('The latest trust bundle has expired.', 'Publish a new trust bundle.'),
  'trust.not-found': entry(
    'There is no trust bundle with this number.',
    'Use a number that croupier trust show lists.',
  ),
  'trust.root-mismatch': entry(
    'The root certificate does not match the pinned fingerprint.',
    'Check the ticket and the gateway; do not continue.',
  ),

  // Enrolment (RFC 7030)
  'enrolment.unauthenticated': entry(
    'The request carries no usable credential.',
    'Send the device id and one-time code of the ticket, or a certificate.',
  ),
  'enrolment.code-invalid': entry(
    'The device id or the one-time code is wrong, used or expired.',
    'Issue a new ticket with croupier device ticket.',
  ),
  'enrolment.parked': entry(
    'The request waits for the approval of a device engineer.',
    'Repeat the request after the interval named.',
  ),
  'enrolment.refused': entry('A device engineer refused the request.', 'Ask the device engineer.'),
  'enrolment.quarantined': entry(
    'The device is quarantined and gets neither key nor certificate.',
    'A device engineer and an approver must restore it.',
  ),
  'enrolment.rate-limited': entry('Too many requests.', 'Repeat after the interval named.'),
  'enrolment.label-unknown': entry('There is no EST label of this name.', 'Use the label of the device class or none.'),

  // Devices and inventory
  'device.not-found': entry(
    'There is no device of this id in the inventory.',
    'Import it with croupier device import.',
  ),
  'device.exists': entry('A device of this id exists already.', 'Choose another id, or leave the row out.'),
  'device.state-refused': entry('The state of the device does not allow this.', 'See croupier device show.'),
  'inventory.invalid': entry(
    'The inventory file has a row that cannot be imported; nothing was imported.',
    'Correct the named line.',
  ),
  'report.regressed': entry(
    'The device reports less than it proved before.',
    'Treat as a restored image; re-baseline the device.',
  ),
  'report.forked': entry('Reports of one device do not form one history.', 'Treat as a cloned device.'),
  'device.busy': entry(
    'An application of the device defers the activation.',
    'None: the device activates when it is free.',
  ),

  // Keys and rollouts
  'keyset.not-found': entry('There is no key set of this name.', 'See croupier keyset list.'),
  'keyset.rotation-under-way': entry(
    'A rotation of this key set is already under way.',
    'Finish it first; see croupier rollout list.',
  ),
  'keyset.version-not-found': entry('The key set has no such version.', 'See croupier keyset show.'),
  'keyset.state-refused': entry('The state of the key version does not allow this.', 'See croupier keyset show.'),
  'rollout.not-found': entry('There is no rollout of this id.', 'See croupier rollout list.'),
  'rollout.state-refused': entry('The state of the rollout does not allow this.', 'See croupier rollout show.'),
  'rollout.devices-depend': entry(
    'Devices still depend on this key version.',
    'Wait for them or have them signed off by two people.',
  ),

  // Governance
  'rollout.plan-not-found': entry('The policy has no rollout plan of this name.', 'See rollouts.plans of the policy.'),
  'rollout.plan-invalid': entry(
    'The plan cannot be carried out: its waves overlap, miss devices, or can never pass.',
    'Correct the plan in the policy; croupier rollout plan shows what it would do.',
  ),
  'rollout.plan-changed': entry(
    'The plan is not the one that was approved.',
    'Look at croupier rollout plan again, and ask again.',
  ),
  'rollout.under-way': entry('A rollout of the same thing is under way.', 'Let it end, or abort it first.'),
  'rollout.errors-exceeded': entry(
    'More targets failed than the plan allows.',
    'See croupier rollout show; mend the devices, retry or exempt them, then resume.',
  ),
  'rollout.service-lags': entry(
    'A service that must have the change first does not take it.',
    'Mend the service, then resume the rollout.',
  ),
  'rollout.halted': entry('A person paused the rollout.', 'Resume it when the reason is gone.'),
  'rollout.activation-overdue': entry(
    'The device stored the change and does not use it.',
    'Look at the applications of the device; it goes on by itself once it uses the change.',
  ),
  'rollout.device-vanished': entry(
    'The device left after it was sent the change, and has not come back in time.',
    'Look whether the change took it down; it goes on by itself once the device is back.',
  ),
  'rollout.stragglers': entry(
    'Devices are still behind long after the others.',
    'Bring them back, or have them signed off by two people.',
  ),
  'keyset.rotation-due': entry('The cryptoperiod of the key set ends soon.', 'Rotate it: croupier rotate.'),
  'keyset.rotation-overdue': entry('The cryptoperiod of the key set is over.', 'Rotate it: croupier rotate.'),
  'keyset.compromised': entry('A key version is compromised.', 'Watch its successor reach the devices.'),
  'keyset.version-lost': entry(
    'Devices hold a key version that the gateway does not know.',
    'The gateway was restored from an older backup: rotate the key set.',
  ),
  'report.version-unexpected': entry(
    'A device holds a key version that it was never sent.',
    'Find out where it has it from; treat as an incident.',
  ),
  'report.ahead': entry(
    'A device has processed an update that the gateway has no record of.',
    'The gateway was restored from an older backup; see docs/restore.md.',
  ),
  'authority.not-found': entry('There is no such authority.', 'See croupier authority list.'),
  'authority.state-refused': entry('The state of the authority does not allow this.', 'See croupier authority list.'),
  'authority.certificate-mismatch': entry(
    'The certificate does not fit the authority that it is for.',
    'Have the request of croupier authority prepare signed, and nothing else.',
  ),
  'alert.not-found': entry('There is no open alert of this number.', 'See croupier alert list.'),
  'webhook.failed': entry('A webhook was not taken.', 'Check its address; it is repeated until it is.'),
  'operator.unauthenticated': entry('The operator token is missing or wrong.', 'Pass a token file with --token-file.'),
  'operator.rate-limited': entry('Too many requests.', 'Repeat after the interval named.'),
  'operator.forbidden': entry('The role of the operator does not allow this.', 'Ask somebody with the named role.'),
  'operator.not-found': entry('There is no operator of this name.', 'See croupier operator list.'),
  'operator.exists': entry('An operator of this name exists already.', 'Choose another name.'),
  'approval.not-found': entry('There is no approval request of this id.', 'See croupier approval list.'),
  'approval.required': entry(
    'Another person must approve this first.',
    'Have an approver run croupier approval approve.',
  ),
  'approval.self': entry('The requester may not approve the own request.', 'Have another person approve it.'),
  'approval.expired': entry('The approval request has expired.', 'Ask again.'),
  'approval.hash-mismatch': entry('What would be done is not what was asked.', 'Ask again.'),
  'approval.interrupted': entry(
    'The gateway ended while an approved request was carried out.',
    'See croupier audit export for what was done, and ask again for the rest.',
  ),
  'approval.closed': entry('The approval request has been decided already.', 'See croupier approval list.'),
  'audit.broken': entry(
    'The audit chain does not verify.',
    'Treat as an incident: preserve the database and compare off-box checkpoints.',
  ),
  'audit.unavailable': entry(
    'The audit record could not be written, so nothing was changed.',
    'Free the disk or the database lock, then repeat.',
  ),

  // Configuration and installation
  'config.invalid': entry('The configuration or policy file has an error.', 'Correct the named key.'),
  'config.missing': entry('A file or setting that is needed is missing.', 'Run croupier init, or name the file.'),
  'data.in-use': entry('Another gateway uses this data directory.', 'Stop it, or use another --data directory.'),
  'data.initialised': entry(
    'The data directory is initialised already.',
    'Use another directory or start the gateway.',
  ),
  'port.in-use': entry('The port is taken.', 'Choose another port, or 0 for a free one.'),
  'runtime.unsupported': entry(
    'This version of Node.js cannot run Croupier.',
    'Run npm start, which brings the pinned runtime.',
  ),

  // HSM, store, broker
  'hsm.module-missing': entry(
    'The PKCS#11 module cannot be loaded.',
    'Install the module (SoftHSM2: apt-get install softhsm2) or correct its path.',
  ),
  'hsm.token-absent': entry('The HSM has no token of this label.', 'Run croupier init or correct the label.'),
  'hsm.pin-wrong': entry('The HSM refuses the PIN.', 'Correct the PIN file; repeated attempts may lock the token.'),
  'hsm.unavailable': entry('The HSM does not answer.', 'Nothing is lost; signing resumes when it is back.'),
  'hsm.key-not-found': entry('The HSM has no key of this label.', 'Run croupier doctor.'),
  'hsm.key-exists': entry(
    'The HSM has a key of this label already.',
    'Choose another label; keys are never overwritten.',
  ),
  'hsm.key-unsafe': entry(
    'The key in the HSM could leave it, or may do more than its one purpose.',
    'Generate a new key with Croupier; imported and extractable keys are not used.',
  ),
  'hsm.mechanism-unsupported': entry(
    'The HSM does not support a mechanism that is needed.',
    'Use a module that offers it; croupier doctor lists them.',
  ),
  'hsm.unwrap-failed': entry(
    'The wrapped key fails its authentication tag.',
    'The stored key was altered, or belongs to another HSM key.',
  ),
  'store.unavailable': entry(
    'The database cannot be read or written now.',
    'Free the disk or the lock; nothing was changed.',
  ),
  'store.corrupt': entry('The database holds something that cannot be there.', 'Restore the last backup.'),
  'store.schema-mismatch': entry(
    'The database belongs to another version of Croupier.',
    'Run the version that made it, or migrate.',
  ),
  'broker.unavailable': entry('The MQTT broker cannot be reached.', 'Devices are served when it is back.'),
  'broker.denied': entry(
    'The broker refused the connection, the topic or the packet.',
    'Use the topics of the own device id.',
  ),
  'network.unreachable': entry('The other side cannot be reached.', 'Check address, port and that it runs.'),
  'network.timeout': entry('The other side did not answer in time.', 'Repeat later.'),

  // Agent
  'agent.not-enrolled': entry('The device has no identity yet.', 'Start the agent with --ticket FILE.'),
  'agent.running': entry(
    'Another agent runs on this state directory or socket.',
    'Stop it, or name another --data or --socket.',
  ),
  'agent.not-running': entry(
    'No agent answers on the socket.',
    'Start it with croupier-agent run, or name its --data or --socket.',
  ),
  'agent.state-corrupt': entry(
    'The state directory of the agent cannot be read.',
    'Restore it, or enrol again with a new ticket.',
  ),
  'ticket.invalid': entry('The ticket file cannot be used.', 'Get a new ticket from the device engineer.'),

  'internal.unexpected': entry(
    'Something happened that Croupier does not know.',
    'Report it with the log lines around it.',
  ),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERROR_CATALOGUE;

export const ERROR_CODES: readonly ErrorCode[] = Object.keys(ERROR_CATALOGUE).filter(isErrorCode);

export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_CATALOGUE, value);
}

/** Plain values that help to find the fault. Never a key, code, PIN or password. */
export type ErrorDetail = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface CroupierErrorOptions {
  readonly detail?: ErrorDetail;
  readonly cause?: unknown;
  /** Seconds after which the same request may succeed. */
  readonly retryAfter?: number;
}

/**
 * Every fault that Croupier can name. `message` says what happened, to what, and is safe to show to whoever asked;
 * `remedy` says what to do next.
 */
export class CroupierError extends Error {
  override readonly name = 'CroupierError';
  readonly code: ErrorCode;
  readonly detail: ErrorDetail;
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message: string = ERROR_CATALOGUE[code].summary, options: CroupierErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? {};
    this.retryAfter = options.retryAfter;
  }

  get remedy(): string {
    return ERROR_CATALOGUE[this.code].remedy;
  }
}

/** The code of any thrown value: its own if it is ours, else `internal.unexpected`. */
export function errorCode(error: unknown): ErrorCode {
  return error instanceof CroupierError ? error.code : 'internal.unexpected';
}

/** The message of any thrown value, for logs. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Wraps what is not ours already, keeping the original as `cause`. */
export function asCroupierError(error: unknown, code: ErrorCode, message?: string): CroupierError {
  return error instanceof CroupierError ? error : new CroupierError(code, message, { cause: error });
}
