import type { AuditEvent } from '#schema/audit.ts';
import type { KeySetName } from '#schema/ids.ts';
import type { KeySetRecord } from './records.ts';

export interface KeySetStore {
  keySets(): Promise<readonly KeySetRecord[]>;
  keySet(name: KeySetName): Promise<KeySetRecord | undefined>;
  /**
   * Writes an audit record unless the same was noted under this key last: what lasts is said once. Tells whether it was
   * written.
   */
  noteOnce(key: string, what: string, audit: AuditEvent, at: Date): Promise<boolean>;
}
