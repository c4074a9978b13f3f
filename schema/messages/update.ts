/** Update: what a device should hold, signed by a message signer (D§7). Docs: docs/messages.md. */
import { z } from 'zod';
import { Base64, DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Timestamp, TrustVersion } from '../ids.ts';
import { KeyCheckValue, MESSAGE_VERSION, Nonce, WorkingKeyAlgorithm, WorkingKeyUse } from './common.ts';

export const KeyDelivery = z.object({
  version: KeyVersionNumber,
  algorithm: WorkingKeyAlgorithm,
  use: WorkingKeyUse,
  kcv: KeyCheckValue,
  /** CMS AuthEnvelopedData, DER, base64; clear content is a key package (pki/keys/key-package.ts). */
  envelope: Base64,
});
export type KeyDelivery = z.infer<typeof KeyDelivery>;

/** The whole keyring as it should be; `keys` holds only versions that the device has not stored yet. */
export const KeyringUpdate = z.object({
  keySet: KeySetName,
  revision: z.int().min(0),
  /** Version for new work; null when there is none. */
  active: KeyVersionNumber.nullable(),
  /** Versions that are accepted (the active one among them). */
  accept: z.array(KeyVersionNumber).max(16),
  /** Versions whose bytes are to be erased. */
  destroy: z.array(KeyVersionNumber).max(256),
  keys: z.array(KeyDelivery).max(16),
});
export type KeyringUpdate = z.infer<typeof KeyringUpdate>;

export const RENEW_REASONS = ['scheduled', 'expiring', 'ca-rollover', 'policy', 'compromise'] as const;

export const Update = z.object({
  v: z.literal(MESSAGE_VERSION),
  type: z.literal('update'),
  realm: Realm,
  device: DeviceId,
  seq: Seq,
  issuedAt: Timestamp,
  expiresAt: Timestamp,
  /** Nonce of the report that this update answers, or null. */
  nonce: Nonce.nullable(),
  /** Trust bundle that the device must have reached before it applies this update. */
  trustVersion: TrustVersion,
  keyrings: z.array(KeyringUpdate).max(64),
  /** The device is to renew its certificate. */
  renew: z.object({ by: Timestamp, reason: z.enum(RENEW_REASONS) }).optional(),
  /** The gateway's time; trusted by the device when `nonce` is its own. */
  time: Timestamp,
});
export type Update = z.infer<typeof Update>;
