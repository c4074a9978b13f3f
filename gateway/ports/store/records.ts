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
import type { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import type { OldVersionState, RolloutState, TargetState } from '#schema/rollout-states.ts';

export {
  OLD_VERSION_STATES,
  ROLLOUT_STATES,
  TARGET_STATES,
  type OldVersionState,
  type RolloutState,
  type TargetState,
} from '#schema/rollout-states.ts';

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
  /** Addresses that its reports came from, the latest first: few, and each once. */
  readonly reportedFrom: readonly string[];
  /** What the latest report claims to hold that nobody sent, in words: told once for as long as it stays the same. */
  readonly unexpected: string | undefined;
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
  /** None once destroyed, and of a version that only devices hold, because the database was restored to a time before. */
  readonly wrapped: Uint8Array | undefined;
  readonly kek: string;
  readonly kcv: string;
  readonly createdAt: Date;
  readonly activatedAt: Date | undefined;
  readonly deactivatedAt: Date | undefined;
  readonly compromisedAt: Date | undefined;
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

export type RolloutChange =
  | {
      readonly kind: 'key-version';
      readonly keySet: KeySetName;
      /** The version that was active before. All versions below `toVersion` are the old ones. */
      readonly fromVersion: KeyVersionNumber;
      readonly toVersion: KeyVersionNumber;
    }
  | { readonly kind: 'trust-bundle'; readonly fromVersion: TrustVersion; readonly toVersion: TrustVersion }
  | { readonly kind: 're-enrolment'; readonly campaign: Campaign };

/** Which certificates a re-enrolment replaces: those issued before `before`, by `issuer` if it is named. */
export interface Campaign {
  readonly reason: 'ca-rollover' | 'policy' | 'compromise';
  readonly selector: Selector;
  /** Key label of the issuing CA. */
  readonly issuer: string | undefined;
  readonly before: Date;
}

export interface RolloutPause {
  readonly at: Date;
  readonly by: string;
  readonly code: ErrorCode;
  readonly reason: string;
}

export type RolloutRecord = RolloutChange & {
  readonly id: RolloutId;
  readonly plan: RolloutPlan;
  /** Hash that was approved: see `planHash` in gateway/rollout/plan.ts. */
  readonly planSha256: Sha256;
  readonly state: RolloutState;
  readonly startAt: Date;
  /** When all targets were recorded; nothing is sent before. */
  readonly preparedAt: Date | undefined;
  /** The wave that is open; those before it have passed. */
  readonly wave: number;
  readonly waveOpenedAt: Date | undefined;
  /** Since when the open wave soaks. */
  readonly waveSettledAt: Date | undefined;
  readonly pause: RolloutPause | undefined;
  /** When the sign-off of its stragglers was proposed. */
  readonly stragglersAt: Date | undefined;
  readonly requestedBy: string;
  readonly createdAt: Date;
  readonly activatedAt: Date | undefined;
  readonly retiredAt: Date | undefined;
  readonly finishedAt: Date | undefined;
};

export type KeyVersionRollout = Extract<RolloutRecord, { readonly kind: 'key-version' }>;
export type TrustRollout = Extract<RolloutRecord, { readonly kind: 'trust-bundle' }>;
export type ReEnrolmentRollout = Extract<RolloutRecord, { readonly kind: 're-enrolment' }>;

export interface RolloutTarget {
  readonly rollout: RolloutId;
  readonly device: DeviceId;
  readonly wave: number;
  /** Place in its wave, from 0: with a rate, targets are begun with in this order. */
  readonly position: number;
  /** Class `service`: must have the change before it is activated. */
  readonly service: boolean;
  readonly state: TargetState;
  readonly code: string | undefined;
  readonly reason: string | undefined;
  readonly deferredUntil: Date | undefined;
  readonly offeredAt: Date | undefined;
  /** How often the change was sent since the device last answered. */
  readonly attempts: number;
  readonly changedAt: Date;
  readonly old: OldVersionState;
  /** Approval by which it was signed off. */
  readonly signedOff: ApprovalId | undefined;
}

/** So many targets of a rollout are alike in all that decisions look at. */
export interface TargetTally {
  readonly wave: number;
  readonly service: boolean;
  readonly state: TargetState;
  readonly online: boolean;
  readonly deferred: boolean;
  readonly old: OldVersionState;
  readonly targets: number;
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

/**
 * `prepared`: the key waits for its certificate. `next`: certified, published as an anchor, not used yet. `current`: signs.
 * `previous`: signs no more, still an anchor. `withdrawn`, `compromised`: nothing of it is accepted any more.
 */
export const AUTHORITY_STATES = ['prepared', 'next', 'current', 'previous', 'withdrawn', 'compromised'] as const;
export type AuthorityState = (typeof AUTHORITY_STATES)[number];

export interface AuthorityRecord {
  readonly role: AuthorityRole;
  readonly keyLabel: string;
  readonly state: AuthorityState;
  /** DER; none while prepared. */
  readonly certificate: Uint8Array | undefined;
  readonly createdAt: Date;
  readonly changedAt: Date;
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
