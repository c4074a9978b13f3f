/**
 * Audit records: one JSON object per record, canonical (RFC 8785), chained by SHA-256. An exported file holds one
 * record or checkpoint a line. Docs: docs/audit.md.
 */
import { z } from 'zod';
import { Base64, Realm, Sha256, Timestamp } from './ids.ts';

export const ActorType = z.enum(['operator', 'device', 'gateway', 'console', 'anonymous']);

export const AuditActor = z.object({
  type: ActorType,
  id: z.string().max(128),
  role: z.string().optional(),
});
export type AuditActor = z.infer<typeof AuditActor>;

const Detail = z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.string())]);

/** What a decision says happened; the store adds number, time and hashes. */
export const AuditEvent = z.object({
  action: z.string().max(64),
  outcome: z.enum(['success', 'denied', 'error']),
  /** Error code when denied or in error. */
  code: z.string().max(64).optional(),
  actor: AuditActor,
  source: z.string().max(128).optional(),
  object: z.object({ type: z.string().max(32), id: z.string().max(256) }).optional(),
  device: z.string().max(64).optional(),
  approval: z.object({ id: z.string(), hash: Sha256, approvers: z.array(z.string()) }).optional(),
  details: z.record(z.string(), Detail).optional(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;

export const AuditRecord = AuditEvent.extend({
  seq: z.int().min(1),
  id: z.uuid(),
  time: Timestamp,
  realm: Realm,
  prevHash: Sha256,
  /** SHA-256 of the canonical record without this member. */
  hash: Sha256,
});
export type AuditRecord = z.infer<typeof AuditRecord>;

/** Most urgent first. `critical`: look now; `warning`: somebody has to act; `info`: somebody should know. */
export const ALERT_SEVERITIES = ['critical', 'warning', 'info'] as const;
export const AlertSeverity = z.enum(ALERT_SEVERITIES);
export type AlertSeverity = z.infer<typeof AlertSeverity>;

/** Signed by the audit key in the HSM: binds the chain up to `seq`. */
export const AuditCheckpointBody = z.object({
  v: z.literal(1),
  type: z.literal('audit-checkpoint'),
  realm: Realm,
  seq: z.int().min(1),
  hash: Sha256,
  /** Hash of the checkpoint before (its CMS bytes); null on the first. */
  previous: Sha256.nullable(),
  time: Timestamp,
});
export type AuditCheckpointBody = z.infer<typeof AuditCheckpointBody>;

export const AuditExportLine = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('head'),
    realm: Realm,
    root: Base64,
    exportedAt: Timestamp,
    first: z.int(),
    last: z.int(),
  }),
  z.object({ kind: z.literal('record'), record: AuditRecord }),
  /** `cms`: SignedData over AuditCheckpointBody, DER, base64. */
  z.object({ kind: z.literal('checkpoint'), cms: Base64 }),
]);
export type AuditExportLine = z.infer<typeof AuditExportLine>;

/** `prevHash` of the first record. */
export const AUDIT_GENESIS = '0'.repeat(64);
