import type { AuditEvent, AuditRecord } from '#schema/audit.ts';

export interface StoredCheckpoint {
  readonly seq: number;
  /** SignedData over AuditCheckpointBody, DER. */
  readonly cms: Uint8Array;
  readonly sha256: string;
}

export interface AuditStore {
  /** Records events that change nothing else: refusals, logins, starts. */
  appendAudit(events: readonly AuditEvent[], at: Date): Promise<void>;
  auditHead(): Promise<{ readonly seq: number; readonly hash: string }>;
  /** Records after `after`, ascending. */
  auditRecords(after: number, limit: number): Promise<readonly AuditRecord[]>;
  latestCheckpoint(): Promise<StoredCheckpoint | undefined>;
  addCheckpoint(checkpoint: StoredCheckpoint, at: Date): Promise<void>;
  /** Checkpoints with `after < seq`, ascending. */
  checkpoints(after: number, limit: number): Promise<readonly StoredCheckpoint[]>;
}
