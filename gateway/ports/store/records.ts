/** What the store holds, as the decisions see it. */
import type {
  DeviceClass,
  DeviceId,
  EnrolmentId,
  KeySetName,
  KeyVersionNumber,
  OperatorName,
  RolloutId,
  Serial,
  Sha256,
  SiteName,
  TrustVersion,
  ApprovalId,
} from '#schema/ids.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { WorkingKeyAlgorithm, WorkingKeyUse } from '#schema/messages/common.ts';
import type { DeviceKeyState } from '#schema/messages/report.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { Action, Role } from '#schema/operators.ts';
import type { Selector } from '#schema/policy.ts';

export type DeviceState =
  | { readonly kind: 'registered' }
  | { readonly kind: 'enrolled' }
  | { readonly kind: 'quarantined'; readonly code: ErrorCode }
  | { readonly kind: 'revoked' };

export interface DeviceRecord {
  readonly id: DeviceId;
  readonly class: DeviceClass;
  readonly site: SiteName;
  readonly serialNumber: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly state: DeviceState;
  readonly stateSince: Date;
  readonly createdAt: Date;
  readonly currentSerial: Serial | undefined;
  readonly nextSerial: Serial | undefined;
}

export interface SyncRecord {
  readonly device: DeviceId;
  readonly connected: boolean;
  readonly address: string | undefined;
  readonly lastSeenAt: Date | undefined;
  readonly seq: number;
  readonly lastSeq: number;
  readonly counter: number;
  readonly digest: Sha256 | undefined;
  readonly nonce: string | undefined;
  readonly nonceAnswered: boolean;
  readonly clockTrusted: boolean;
  readonly boots: readonly string[];
  readonly trustVersion: TrustVersion;
  readonly agentVersion: string | undefined;
  readonly lastReportAt: Date | undefined;
  readonly dueAt: Date | undefined;
  readonly attempts: number;
}

export interface DeviceKeyVersion {
  readonly keySet: KeySetName;
  readonly version: KeyVersionNumber;
  readonly state: 'offered' | DeviceKeyState;
  readonly kcv: string | undefined;
  readonly changedAt: Date;
}

export interface TicketRecord {
  readonly id: string;
  readonly device: DeviceId;
  readonly salt: string;
  readonly codeHash: string;
  readonly expiresAt: Date;
  readonly createdBy: string;
  readonly consumedAt: Date | undefined;
  readonly consumedCsr: Sha256 | undefined;
}

/** `intended`: recorded, not known to be signed. `withheld`: broke a rule before or after signing, never released. */
export type CertificateState = 'intended' | 'issued' | 'revoked' | 'withheld';

export interface CertificateRecord {
  readonly serial: Serial;
  readonly device: DeviceId;
  /** Key label of the issuing CA. */
  readonly issuer: string;
  readonly state: CertificateState;
  readonly csrSha256: Sha256;
  readonly spkiSha256: Sha256;
  readonly fingerprint: Sha256 | undefined;
  readonly tbs: Uint8Array;
  readonly der: Uint8Array | undefined;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly createdAt: Date;
  readonly revokedAt: Date | undefined;
}

export interface CertificateIntent {
  /** Vouched for by a person, not by an earlier certificate: on its first use the device's reports start a new history. */
  readonly freshStart: boolean;
  readonly serial: Serial;
  readonly device: DeviceId;
  readonly issuer: string;
  readonly csrSha256: Sha256;
  readonly spkiSha256: Sha256;
  readonly tbs: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly createdAt: Date;
}

export interface EnrolmentRequest {
  readonly id: EnrolmentId;
  readonly csrSha256: Sha256;
  readonly csr: Uint8Array;
  /** Device that the request claims, or that the engineer assigned. */
  readonly device: DeviceId | undefined;
  readonly reason: ErrorCode;
  readonly source: string | undefined;
  readonly state: 'pending' | 'approved' | 'refused' | 'issued';
  readonly requestedAt: Date;
  readonly decidedAt: Date | undefined;
  readonly decidedBy: string | undefined;
}

/** NIST SP 800-57 part 1, section 7. */
export type KeyVersionState = 'pre-activation' | 'active' | 'suspended' | 'deactivated' | 'compromised' | 'destroyed';

export interface KeyVersionRecord {
  readonly keySet: KeySetName;
  readonly version: KeyVersionNumber;
  readonly state: KeyVersionState;
  readonly retiredAt: Date | undefined;
  readonly wrapped: Uint8Array | undefined;
  readonly kek: string;
  readonly kcv: string;
  readonly createdAt: Date;
  readonly activatedAt: Date | undefined;
  readonly deactivatedAt: Date | undefined;
  readonly destroyedAt: Date | undefined;
}

export interface KeySetRecord {
  readonly name: KeySetName;
  readonly algorithm: WorkingKeyAlgorithm;
  readonly use: WorkingKeyUse;
  readonly scope: 'shared' | 'per-device';
  readonly selector: Selector;
  readonly cryptoperiodMs: number;
  readonly revision: number;
  readonly createdAt: Date;
  /** Ascending by version. */
  readonly versions: readonly KeyVersionRecord[];
}

/** D§9. `draft`, `paused` and `aborted` belong to planned rollouts and are already part of the stored vocabulary. */
export type RolloutState = 'distributing' | 'ready' | 'active' | 'retiring' | 'retired' | 'destroying' | 'destroyed';

export type TargetState =
  | 'pending'
  | 'offered'
  | 'stored'
  | 'active'
  | 'old-retired'
  | 'old-destroyed'
  | 'refused'
  | 'stalled'
  | 'superseded'
  | 'quarantined'
  | 'exempt';

export interface RolloutRecord {
  readonly id: RolloutId;
  readonly kind: 'key-version';
  readonly keySet: KeySetName;
  readonly fromVersion: KeyVersionNumber;
  readonly toVersion: KeyVersionNumber;
  readonly state: RolloutState;
  readonly requestedBy: string;
  readonly createdAt: Date;
  readonly activatedAt: Date | undefined;
  readonly retiredAt: Date | undefined;
  readonly finishedAt: Date | undefined;
}

export interface RolloutTarget {
  readonly rollout: RolloutId;
  readonly device: DeviceId;
  readonly wave: number;
  readonly state: TargetState;
  readonly code: string | undefined;
  readonly deferredUntil: Date | undefined;
  readonly offeredAt: Date | undefined;
  readonly changedAt: Date;
}

export interface TrustBundleRecord {
  readonly version: TrustVersion;
  readonly der: Uint8Array;
  readonly sha256: Sha256;
  readonly body: TrustBundle;
}

export type AuthorityRole =
  | 'root'
  | 'device-ca'
  | 'operations-ca'
  | 'message-signer'
  | 'message-signer-standby'
  | 'audit-signer'
  | 'ocsp-responder';

export interface AuthorityRecord {
  readonly role: AuthorityRole;
  readonly keyLabel: string;
  readonly certificate: Uint8Array;
}

export interface OperatorRecord {
  readonly name: OperatorName;
  readonly role: Role;
  readonly createdAt: Date;
  readonly createdBy: string;
}

export interface ApprovalRecord {
  readonly id: ApprovalId;
  readonly action: Action;
  readonly summary: string;
  /** Canonical JSON of what was asked. */
  readonly request: string;
  readonly sha256: Sha256;
  readonly requester: OperatorName;
  readonly state: 'pending' | 'approved' | 'refused' | 'executed' | 'failed' | 'expired';
  readonly approver: OperatorName | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly decidedAt: Date | undefined;
  /** JSON of the outcome once executed. */
  readonly result: string | undefined;
}

/** What every committing outcome carries: the records that stand or fall with it. */
export interface Audited {
  readonly audit: readonly AuditEvent[];
}
