import type { DeviceId, KeySetName, KeyVersionNumber, Sha256, TrustVersion } from '#schema/ids.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { Report } from '#schema/messages/report.ts';
import type {
  Audited,
  Campaign,
  CertificateRecord,
  DeviceKeyVersion,
  DeviceRecord,
  KeySetRecord,
  KeyVersionRecord,
  RolloutRecord,
  RolloutTarget,
  SyncRecord,
} from './records.ts';

/** What the gateway has on record beyond the device's present; asked only where something does not fit. */
export interface GatewayMemory {
  /** Whether an update with this number was ever sent to the device. */
  readonly sent: (seq: number) => boolean;
  /** Whether there is a trust bundle of this number. */
  readonly published: (version: TrustVersion) => boolean;
}

/** A revision that a device holds and that the key set has not reached: it rises above. */
export interface LearnedRevision {
  readonly keySet: KeySetName;
  readonly above: number;
}

/** Everything about one device that delivery decides on. */
export interface DeliveryState {
  readonly device: DeviceRecord;
  readonly sync: SyncRecord;
  /** Ascending by key set and version. */
  readonly versions: readonly DeviceKeyVersion[];
  /** Key sets whose selector names the device. */
  readonly keySets: readonly KeySetRecord[];
  /**
   * Rollouts that have not ended and concern the device, oldest first, with its target where it has one: those of its key
   * sets, of trust bundles, and re-enrolments whose selector names it.
   */
  readonly rollouts: readonly { readonly rollout: RolloutRecord; readonly target: RolloutTarget | undefined }[];
  /** The latest bundle that every device should hold; rollouts may hand out later ones. */
  readonly trustReleased: TrustVersion;
  /** The certificate that envelopes are sealed to and reports are signed with: current, or next once it was seen. */
  readonly identity: CertificateRecord | undefined;
  readonly memory: GatewayMemory;
}

/** A report whose signature holds, by the key of the certificate named. */
export interface VerifiedReport {
  readonly report: Report;
  /** SHA-256 of the message as received. */
  readonly digest: Sha256;
  readonly certificate: Pick<CertificateRecord, 'serial' | 'device' | 'state' | 'issuer' | 'createdAt'>;
  readonly address: string | undefined;
  readonly receivedAt: Date;
}

/** A target as it is afterwards; the rest of it is a person's word or derived. */
export type TargetMove = Omit<RolloutTarget, 'device' | 'reason' | 'old' | 'signedOff'>;

export interface VersionProof {
  readonly keySet: KeySetName;
  readonly version: KeyVersionNumber;
  readonly state: DeviceKeyVersion['state'];
  readonly kcv: string | undefined;
}

export type ReportOutcome =
  | ({
      readonly kind: 'accepted';
      /** When the device is to be looked at by the dispatcher; undefined means nothing is due. */
      readonly dueAt: Date | undefined;
      readonly attempts: number;
      readonly boots: readonly string[];
      readonly proofs: readonly VersionProof[];
      /** Versions that the device no longer lists and that are settled. */
      readonly targets: readonly TargetMove[];
      /** Addresses that its reports came from, the latest first. */
      readonly reportedFrom: readonly string[];
      /** See `SyncRecord.unexpected`. */
      readonly unexpected: string | undefined;
      /** Certificates of the device that these campaigns have replaced are revoked: their keys are no secret any more. */
      readonly exposed: readonly Campaign[];
      /** What the gateway had forgotten: versions without bytes, and revisions to rise above. */
      readonly learned: {
        readonly versions: readonly KeyVersionRecord[];
        readonly revisions: readonly LearnedRevision[];
      };
    } & Audited)
  /** Seen before, or overtaken by a newer one of the same boot: nothing changes. */
  | { readonly kind: 'ignored'; readonly why: 'duplicate' | 'late' }
  | ({ readonly kind: 'quarantine'; readonly code: ErrorCode } & Audited)
  | ({ readonly kind: 'refused'; readonly code: ErrorCode } & Audited);

/** One keyring to be sent: which versions need key bytes is decided here, the bytes come later. */
export interface PlannedKeyring {
  readonly keySet: KeySetRecord;
  readonly revision: number;
  readonly active: KeyVersionNumber | null;
  readonly accept: readonly KeyVersionNumber[];
  readonly destroy: readonly KeyVersionNumber[];
  readonly deliver: readonly KeyVersionNumber[];
}

export interface PlannedUpdate {
  readonly device: DeviceRecord;
  readonly identity: CertificateRecord;
  readonly seq: number;
  readonly nonce: string | undefined;
  readonly trustVersion: TrustVersion;
  /** Trust bundles to be sent first, in order: from (exclusive) to (inclusive). */
  readonly trustFrom: TrustVersion;
  readonly keyrings: readonly PlannedKeyring[];
  readonly renew:
    | { readonly by: Date; readonly reason: 'scheduled' | 'expiring' | 'ca-rollover' | 'policy' | 'compromise' }
    | undefined;
}

export type DispatchOutcome =
  | {
      readonly kind: 'send';
      readonly update: PlannedUpdate;
      /** When to look again if no report answers. */
      readonly dueAt: Date;
      readonly attempts: number;
      readonly targets: readonly TargetMove[];
    }
  /** Nothing to send; look again then, or never. */
  | {
      readonly kind: 'settle';
      readonly dueAt: Date | undefined;
      readonly attempts: number;
      readonly targets: readonly TargetMove[];
    };

export interface RecordedUpdate {
  readonly device: DeviceId;
  readonly seq: number;
  /** SHA-256 of the body. */
  readonly sha256: Sha256;
  readonly issuedAt: Date;
  readonly offered: readonly {
    readonly keySet: KeySetName;
    readonly version: KeyVersionNumber;
    readonly kcv: string;
  }[];
}

export interface PresenceChange {
  readonly device: DeviceId;
  readonly connected: boolean;
  readonly address: string | undefined;
  readonly at: Date;
}

export interface DeliveryStore {
  /** Records many reports in one transaction, in order. Reports of unknown devices are skipped. */
  recordReports(
    reports: readonly VerifiedReport[],
    decide: (state: DeliveryState, report: VerifiedReport) => ReportOutcome,
  ): Promise<readonly (ReportOutcome | undefined)[]>;
  /** Takes up to `limit` connected devices that are due, and commits what was decided for each. */
  takeDue(
    limit: number,
    now: Date,
    decide: (state: DeliveryState) => DispatchOutcome,
  ): Promise<readonly DispatchOutcome[]>;
  /** Records updates before they are signed, and the versions they offer. */
  recordUpdates(updates: readonly RecordedUpdate[]): Promise<void>;
  setPresence(changes: readonly PresenceChange[]): Promise<void>;
  /** At start: nobody is connected yet. */
  clearPresence(): Promise<void>;
  /** Earliest due time of a connected device. */
  nextDue(): Promise<Date | undefined>;
  /** Raises the due mark of a device. */
  markDue(devices: readonly DeviceId[], at: Date): Promise<void>;
}
