import type { TrustVersion } from '#schema/ids.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { AuthorityRecord, AuthorityRole, TrustBundleRecord } from './records.ts';

export interface TrustStore {
  authorities(): Promise<readonly AuthorityRecord[]>;
  putAuthority(authority: AuthorityRecord, at: Date, audit: AuditEvent): Promise<void>;
  authority(role: AuthorityRole): Promise<AuthorityRecord | undefined>;
  latestTrustBundle(): Promise<TrustBundleRecord | undefined>;
  trustBundle(version: TrustVersion): Promise<TrustBundleRecord | undefined>;
  /** Bundles after `from`, ascending, at most `limit`. */
  trustLinks(from: TrustVersion, limit: number): Promise<readonly TrustBundleRecord[]>;
  /**
   * Appends version N+1 and raises the due mark of every device. Errors: `trust.link-forked` when `bundle` does not
   * follow the latest one.
   */
  appendTrustBundle(bundle: TrustBundleRecord, at: Date, audit: AuditEvent): Promise<void>;
}
