import type { AlertSeverity, AuditEvent, AuditRecord } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';

export interface StoredCheckpoint {
  readonly seq: number;
  /** SignedData over AuditCheckpointBody, DER. */
  readonly cms: Uint8Array;
  readonly sha256: string;
}

/** An alert as it is kept (`alertOf` in gateway/audit/alerts.ts derives it) until a person acknowledges it. */
export interface AlertRecord {
  /** Rises with every new alert. */
  readonly id: number;
  readonly subject: string;
  readonly code: ErrorCode;
  readonly severity: AlertSeverity;
  readonly device: string | undefined;
  readonly rollout: string | undefined;
  readonly keySet: string | undefined;
  /** Of its first occurrence. */
  readonly message: string;
  /** Audit records that raised it first and last. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly occurrences: number;
  readonly raisedAt: Date;
  readonly lastAt: Date;
  readonly acknowledgedAt: Date | undefined;
  readonly acknowledgedBy: string | undefined;
}

export interface AlertFilter {
  /** Only those not acknowledged, or only those acknowledged. */
  readonly open?: boolean | undefined;
  /** Only older ones: with smaller ids. */
  readonly after?: number | undefined;
  readonly limit: number;
}

/** What a commit added to the trail. */
export interface AuditAppended {
  /** Alerts that were not open before. */
  readonly raised: readonly AlertRecord[];
}

export interface AuditStore {
  /** Records events that change nothing else: refusals, logins, starts. */
  appendAudit(events: readonly AuditEvent[], at: Date): Promise<void>;
  auditHead(): Promise<{ readonly seq: number; readonly hash: string }>;
  /** Records after `after`, ascending. */
  auditRecords(after: number, limit: number): Promise<readonly AuditRecord[]>;
  /**
   * Calls back after every commit of this process that appended records; what others append is seen by looking. The
   * watcher must neither block nor throw. Returns what ends it.
   */
  watchAudit(watcher: (appended: AuditAppended) => void): () => void;
  latestCheckpoint(): Promise<StoredCheckpoint | undefined>;
  addCheckpoint(checkpoint: StoredCheckpoint, at: Date): Promise<void>;
  /** Checkpoints with `after < seq`, ascending. */
  checkpoints(after: number, limit: number): Promise<readonly StoredCheckpoint[]>;

  /** Newest first. */
  alerts(filter: AlertFilter): Promise<readonly AlertRecord[]>;
  alert(id: number): Promise<AlertRecord | undefined>;
  /** How many are open. */
  openAlerts(): Promise<Readonly<Record<AlertSeverity, number>>>;
  /** Closes it: the same trouble raises a new one from now on. Errors: `alert.not-found` unless it is open. */
  acknowledgeAlert(id: number, by: string, at: Date, audit: AuditEvent): Promise<AlertRecord>;

  /** Number of the last audit record that the webhook has done with; undefined for a new one. */
  webhookCursor(name: string): Promise<number | undefined>;
  saveWebhookCursor(name: string, seq: number): Promise<void>;
}
