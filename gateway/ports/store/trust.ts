import type { DeviceId, TrustVersion } from '#schema/ids.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { CroupierError } from '#schema/errors.ts';
import type { Audited, AuthorityRecord, AuthorityRole, TrustBundleRecord } from './records.ts';

/** Enrolled devices that do not hold a trust bundle yet. */
export interface DevicesBehind {
  /** Connected: they take it within seconds. */
  readonly connected: number;
  /** They take it when they return. */
  readonly away: number;
}

/** Enrolled devices that report a trust bundle which the gateway does not have. */
export interface DevicesAhead {
  readonly devices: number;
  /** One of those that are furthest. */
  readonly first: DeviceId;
  readonly highest: TrustVersion;
}

/** What a decision about authorities looks at. */
export interface AuthorityFacts {
  /** Every one that ever was. */
  readonly records: readonly AuthorityRecord[];
  /** The latest that every device should hold, and gets when it returns; a rollout may be bringing later ones to some. */
  readonly releasedBundle: TrustBundleRecord | undefined;
  /** Enrolled or quarantined devices whose certificate in use was issued by the CA of this key. */
  readonly devicesUnder: (keyLabel: string) => number;
  /** Enrolled devices that have not proved to hold this trust bundle. */
  readonly devicesBehind: (version: TrustVersion) => DevicesBehind;
}

export type AuthorityOutcome =
  /** Records to add, or to put in the place of those with the same key. */
  | ({ readonly kind: 'change'; readonly put: readonly AuthorityRecord[] } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface TrustStore {
  /** Every authority that ever was, in any state: by role, then oldest first. */
  authorities(): Promise<readonly AuthorityRecord[]>;
  /** The current one. */
  authority(role: AuthorityRole): Promise<AuthorityRecord | undefined>;
  /** Decides on all authorities at once and commits what changes. */
  decideAuthorities<Outcome extends AuthorityOutcome>(
    at: Date,
    decide: (facts: AuthorityFacts) => Outcome,
  ): Promise<Outcome>;
  devicesUnder(keyLabel: string): Promise<number>;
  devicesBehind(version: TrustVersion): Promise<DevicesBehind>;
  /** Enrolled devices beyond this trust bundle, if there are any. */
  devicesAhead(version: TrustVersion): Promise<DevicesAhead | undefined>;
  latestTrustBundle(): Promise<TrustBundleRecord | undefined>;
  /** Version of the latest bundle that every device should hold; a rollout may bring later ones to some. 0 when there is none. */
  releasedTrustVersion(): Promise<TrustVersion>;
  trustBundle(version: TrustVersion): Promise<TrustBundleRecord | undefined>;
  /** Bundles after `from`, ascending, at most `limit`. */
  trustLinks(from: TrustVersion, limit: number): Promise<readonly TrustBundleRecord[]>;
  /**
   * Appends version N+1 and raises the due mark of every device. Errors: `trust.link-forked` when `bundle` does not
   * follow the latest one.
   */
  appendTrustBundle(bundle: TrustBundleRecord, at: Date, audit: AuditEvent): Promise<void>;
}
