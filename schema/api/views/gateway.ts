/** The gateway about itself, its audit trail, and its events. */
import { z } from 'zod';
import { AlertSeverity, AuditRecord } from '../../audit.ts';
import { DeviceId, EnrolmentId, ApprovalId, Realm, RolloutId, Sha256, Timestamp, TrustVersion } from '../../ids.ts';
import { AlertId } from '../commands.ts';
import { AlertCounts } from './alerts.ts';
import { PageLimit } from './common.ts';
import { RolloutStateName } from './rollouts.ts';

export const HsmHealthView = z.discriminatedUnion('state', [
  z.object({ state: z.literal('ready'), sessions: z.int(), operations: z.int() }),
  z.object({ state: z.literal('unavailable'), since: Timestamp, reason: z.string() }),
]);
export type HsmHealthView = z.infer<typeof HsmHealthView>;

export const AuditHeadView = z.object({
  seq: z.int(),
  hash: Sha256,
  /** The last signed checkpoint; null before the first. */
  checkpoint: z.object({ seq: z.int(), sha256: Sha256 }).nullable(),
});
export type AuditHeadView = z.infer<typeof AuditHeadView>;

export const StatusView = z.object({
  realm: Realm,
  version: z.string(),
  startedAt: Timestamp,
  now: Timestamp,
  /** Ports really bound. */
  ports: z.object({ est: z.int(), mqtt: z.int(), api: z.int(), public: z.int() }),
  devices: z.object({ total: z.int(), connected: z.int(), byState: z.record(z.string(), z.int()) }),
  hsm: HsmHealthView,
  policy: z.object({ version: z.int(), sha256: Sha256 }).nullable(),
  trust: z.object({ version: TrustVersion, sha256: Sha256, expiresAt: Timestamp }).nullable(),
  crl: z.object({ number: z.int(), nextUpdate: Timestamp }).nullable(),
  audit: AuditHeadView,
  openAlerts: AlertCounts,
  openRollouts: z.int(),
  pendingApprovals: z.int(),
  pendingEnrolments: z.int(),
});
export type StatusView = z.infer<typeof StatusView>;

export const AuditQuery = z.object({
  /** Only records after this number. */
  after: z.coerce.number().int().min(0).default(0),
  limit: PageLimit,
});
export const AuditPage = z.object({ items: z.array(AuditRecord), next: z.int().nullable() });
export type AuditPage = z.infer<typeof AuditPage>;

export const AuditExportQuery = z.object({
  /** First record of the export; a file that starts later proves nothing about what came before. */
  first: z.coerce.number().int().min(1).default(1),
});

/** What a device needs besides its code; the root is pinned by its fingerprint. */
export const TicketInfo = z.object({
  realm: Realm,
  est: z.url({ protocol: /^https$/ }),
  mqtt: z.url({ protocol: /^mqtts$/ }),
  public: z.url({ protocol: /^http$/ }),
  /** SHA-256 of the root certificate (DER). */
  root: Sha256,
});
export type TicketInfo = z.infer<typeof TicketInfo>;

/** What happens in the gateway, as `GET /v1/events` tells it. Hints for people who look on; truth is in the views. */
export const GatewayEvent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('device'),
    device: DeviceId,
    change: z.enum(['connected', 'disconnected', 'enrolled', 'renewed', 'quarantined', 'revoked', 'released']),
  }),
  z.object({
    type: z.literal('rollout'),
    rollout: RolloutId,
    state: RolloutStateName,
    /** Name of the wave that is open. */
    wave: z.string(),
    paused: z.boolean(),
  }),
  z.object({ type: z.literal('enrolment'), enrolment: EnrolmentId, state: z.enum(['parked', 'approved', 'refused']) }),
  z.object({
    type: z.literal('approval'),
    approval: ApprovalId,
    state: z.enum(['asked', 'executed', 'failed', 'refused']),
  }),
  z.object({
    type: z.literal('alert'),
    alert: AlertId,
    code: z.string(),
    severity: AlertSeverity,
    message: z.string(),
    state: z.enum(['raised', 'acknowledged']),
  }),
  z.object({ type: z.literal('trust'), version: TrustVersion }),
  z.object({ type: z.literal('policy'), version: z.int() }),
  z.object({ type: z.literal('hsm'), state: z.enum(['ready', 'unavailable']) }),
  /** Events before this point are gone (how many: null when the gateway was started anew); look at the views again. */
  z.object({ type: z.literal('gap'), dropped: z.int().nullable() }),
]);
export type GatewayEvent = z.infer<typeof GatewayEvent>;
