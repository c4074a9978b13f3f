/**
 * From rows to records. Everything read is parsed, so that a damaged or foreign database is named (`store.corrupt`)
 * instead of reaching a decision. Times are milliseconds in rows and Dates in records; NULL becomes undefined.
 */
import { z } from 'zod';
import { CroupierError, isErrorCode, type ErrorCode } from '#schema/errors.ts';
import {
  ApprovalId,
  DeviceClass,
  DeviceId,
  EnrolmentId,
  KeySetName,
  KeyVersionNumber,
  OperatorName,
  Serial,
  Sha256,
  SiteName,
  TrustVersion,
} from '#schema/ids.ts';
import { WorkingKeyAlgorithm, WorkingKeyUse } from '#schema/messages/common.ts';
import { DEVICE_KEY_STATES } from '#schema/messages/report.ts';
import { TrustBundle } from '#schema/messages/trust-bundle.ts';
import { Action, Role } from '#schema/operators.ts';
import { parseWith } from '#schema/parse.ts';
import { Selector } from '#schema/policy.ts';
import {
  AUTHORITY_STATES,
  type ApprovalRecord,
  type AuthorityRecord,
  type CertificateRecord,
  type DeviceKeyVersion,
  type DeviceRecord,
  type DeviceState,
  type EnrolmentRequest,
  type KeySetRecord,
  type KeyVersionRecord,
  type OperatorRecord,
  type SyncRecord,
  type TicketRecord,
  type TrustBundleRecord,
} from '#gateway/ports/store/records.ts';

export const Instant = z.int().transform((ms) => new Date(ms));

export const optional = <Schema extends z.ZodType>(
  schema: Schema,
): z.ZodPipe<z.ZodNullable<Schema>, z.ZodTransform<z.output<Schema> | undefined, z.output<Schema> | null>> =>
  schema.nullable().transform((value) => value ?? undefined);

/** A flag as SQLite has it, or as drizzle makes it. */
export const Flag = z.union([z.boolean(), z.literal(0).transform(() => false), z.literal(1).transform(() => true)]);

export const jsonText = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'not JSON' });
    return z.NEVER;
  }
});

const Bytes = z.instanceof(Uint8Array);
export const Code = z.custom<ErrorCode>(
  (value) => typeof value === 'string' && isErrorCode(value),
  'not an error code',
);

export const Labels = jsonText.pipe(z.record(z.string(), z.string()));
export const DeviceStateName = z.enum(['registered', 'enrolled', 'quarantined', 'revoked']);

/** A function that parses rows of one table. */
export function reader<Schema extends z.ZodType>(schema: Schema, what: string): (row: unknown) => z.output<Schema> {
  return (row) => parseWith(schema, row, 'store.corrupt', `Row of ${what}`);
}

/** Column value of a time that may be missing. */
export const ms = (date: Date | undefined): number | null => date?.getTime() ?? null;

/** Column value of bytes. */
export const blob = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Errors: `store.corrupt` for a quarantine without a reason. */
export function deviceState(kind: DeviceState['kind'], code: ErrorCode | undefined): DeviceState {
  if (kind !== 'quarantined') return { kind };
  if (code === undefined) throw new CroupierError('store.corrupt', 'Row of devices: quarantined without a code');
  return { kind, code };
}

export const deviceRecord: (row: unknown) => DeviceRecord = reader(
  z
    .object({
      id: DeviceId,
      class: DeviceClass,
      site: SiteName,
      serialNumber: z.string(),
      labels: Labels,
      state: DeviceStateName,
      stateCode: optional(Code),
      stateSince: Instant,
      createdAt: Instant,
      currentSerial: optional(Serial),
      nextSerial: optional(Serial),
    })
    .transform(({ state, stateCode, ...device }) => ({ ...device, state: deviceState(state, stateCode) })),
  'devices',
);

export const syncRecord: (row: unknown) => SyncRecord = reader(
  z.object({
    device: DeviceId,
    connected: Flag,
    address: optional(z.string()),
    lastSeenAt: optional(Instant),
    seq: z.int(),
    lastSeq: z.int(),
    counter: z.int(),
    digest: optional(Sha256),
    nonce: optional(z.string()),
    nonceAnswered: Flag,
    clockTrusted: Flag,
    boots: jsonText.pipe(z.array(z.string())),
    reportedFrom: jsonText.pipe(z.array(z.string())),
    unexpected: optional(z.string()),
    trustVersion: TrustVersion,
    agentVersion: optional(z.string()),
    lastReportAt: optional(Instant),
    dueAt: optional(Instant),
    attempts: z.int(),
  }),
  'device_sync',
);

export const deviceKeyVersion: (row: unknown) => DeviceKeyVersion = reader(
  z.object({
    keySet: KeySetName,
    version: KeyVersionNumber,
    state: z.enum(['offered', ...DEVICE_KEY_STATES]),
    kcv: optional(z.string()),
    changedAt: Instant,
  }),
  'device_key_versions',
);

export const ticketRecord: (row: unknown) => TicketRecord = reader(
  z.object({
    id: z.string(),
    device: DeviceId,
    salt: z.string(),
    codeHash: z.string(),
    expiresAt: Instant,
    createdBy: z.string(),
    consumedAt: optional(Instant),
    consumedCsr: optional(Sha256),
  }),
  'tickets',
);

export const certificateRecord: (row: unknown) => CertificateRecord = reader(
  z.object({
    serial: Serial,
    device: DeviceId,
    issuer: z.string(),
    state: z.enum(['intended', 'issued', 'revoked', 'withheld']),
    csrSha256: Sha256,
    spkiSha256: Sha256,
    fingerprint: optional(Sha256),
    tbs: Bytes,
    der: optional(Bytes),
    notBefore: Instant,
    notAfter: Instant,
    createdAt: Instant,
    revokedAt: optional(Instant),
  }),
  'certificates',
);

export const enrolmentRequest: (row: unknown) => EnrolmentRequest = reader(
  z.object({
    id: EnrolmentId,
    csrSha256: Sha256,
    csr: Bytes,
    device: optional(DeviceId),
    reason: Code,
    source: optional(z.string()),
    state: z.enum(['pending', 'approved', 'refused', 'issued']),
    requestedAt: Instant,
    decidedAt: optional(Instant),
    decidedBy: optional(z.string()),
  }),
  'enrolment_requests',
);

export const keyVersionRecord: (row: unknown) => KeyVersionRecord = reader(
  z.object({
    keySet: KeySetName,
    version: KeyVersionNumber,
    state: z.enum(['pre-activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed']),
    retiredAt: optional(Instant),
    wrapped: optional(Bytes),
    kek: z.string(),
    kcv: z.string(),
    createdAt: Instant,
    activatedAt: optional(Instant),
    deactivatedAt: optional(Instant),
    compromisedAt: optional(Instant),
    destroyedAt: optional(Instant),
  }),
  'key_versions',
);

/** A key set without its versions. */
export const keySetHead: (row: unknown) => Omit<KeySetRecord, 'versions'> = reader(
  z
    .object({
      name: KeySetName,
      algorithm: WorkingKeyAlgorithm,
      use: WorkingKeyUse,
      scope: z.enum(['shared', 'per-device']),
      selector: jsonText.pipe(Selector),
      cryptoperiod: z.number(),
      revision: z.int(),
      createdAt: Instant,
    })
    .transform(({ cryptoperiod, ...keySet }) => ({ ...keySet, cryptoperiodMs: cryptoperiod })),
  'key_sets',
);

export const authorityRecord: (row: unknown) => AuthorityRecord = reader(
  z.object({
    role: z.enum([
      'root',
      'device-ca',
      'operations-ca',
      'message-signer',
      'message-signer-standby',
      'audit-signer',
      'ocsp-responder',
    ]),
    keyLabel: z.string(),
    state: z.enum(AUTHORITY_STATES),
    certificate: optional(Bytes),
    createdAt: Instant,
    changedAt: Instant,
  }),
  'authorities',
);

export const trustBundleRecord: (row: unknown) => TrustBundleRecord = reader(
  z.object({ version: TrustVersion, der: Bytes, sha256: Sha256, body: jsonText.pipe(TrustBundle) }),
  'trust_bundles',
);

export const operatorRecord: (row: unknown) => OperatorRecord = reader(
  z.object({ name: OperatorName, role: Role, createdAt: Instant, createdBy: z.string() }),
  'operators',
);

export const approvalRecord: (row: unknown) => ApprovalRecord = reader(
  z.object({
    id: ApprovalId,
    action: Action,
    summary: z.string(),
    request: z.string(),
    sha256: Sha256,
    requester: OperatorName,
    state: z.enum(['pending', 'approved', 'refused', 'executed', 'failed', 'expired']),
    approver: optional(OperatorName),
    createdAt: Instant,
    expiresAt: Instant,
    decidedAt: optional(Instant),
    result: optional(z.string()),
  }),
  'approvals',
);
