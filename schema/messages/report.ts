/** Report: what a device proves to hold, signed by its identity key (D§7). Docs: docs/messages.md. */
import { z } from 'zod';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Serial, Sha256, Timestamp, TrustVersion } from '../ids.ts';
import { KeyCheckValue, MESSAGE_VERSION, Nonce } from './common.ts';

/**
 * stored: held and accepted, not for new work. active: used for new work. retired: held, refused for all work.
 * destroyed: the bytes are gone.
 */
export const DEVICE_KEY_STATES = ['stored', 'active', 'retired', 'destroyed'] as const;
export const DeviceKeyState = z.enum(DEVICE_KEY_STATES);
export type DeviceKeyState = z.infer<typeof DeviceKeyState>;

export const ReportedVersion = z.object({
  version: KeyVersionNumber,
  state: DeviceKeyState,
  kcv: KeyCheckValue.nullable(),
});
export type ReportedVersion = z.infer<typeof ReportedVersion>;

export const ReportedKeyring = z.object({
  keySet: KeySetName,
  revision: z.int().min(0),
  active: KeyVersionNumber.nullable(),
  versions: z.array(ReportedVersion).max(256),
});
export type ReportedKeyring = z.infer<typeof ReportedKeyring>;

export const UpdateResult = z.object({
  seq: Seq,
  outcome: z.enum(['applied', 'refused', 'deferred']),
  /** An error code of the catalogue when refused or deferred. */
  code: z.string().max(64).optional(),
  /** When a deferred activation is tried again. */
  until: Timestamp.optional(),
});
export type UpdateResult = z.infer<typeof UpdateResult>;

export const Report = z.object({
  v: z.literal(MESSAGE_VERSION),
  type: z.literal('report'),
  realm: Realm,
  device: DeviceId,
  /** Fresh at every start of the agent. */
  bootId: z.uuid(),
  /** Rises by one with every report, across restarts. */
  counter: z.int().min(1),
  nonce: Nonce,
  /** Highest `seq` that the device has processed; 0 before the first. */
  lastSeq: Seq,
  trustVersion: TrustVersion,
  identity: z.object({ serial: Serial, notAfter: Timestamp, keyFingerprint: Sha256 }),
  keyrings: z.array(ReportedKeyring).max(64),
  results: z.array(UpdateResult).max(16),
  clock: z.object({ now: Timestamp, trusted: z.boolean() }),
  agent: z.object({ version: z.string().max(32), platform: z.string().max(64) }),
  /** SHA-256 of the report before, as sent (CMS, DER); null on the first. */
  previous: Sha256.nullable(),
});
export type Report = z.infer<typeof Report>;
