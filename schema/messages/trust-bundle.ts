/** Trust bundle: the numbered set of anchors by purpose. Each link is signed by what the one before it trusts (D§7). */
import { z } from 'zod';
import { Base64, Realm, Sha256, Timestamp, TrustVersion } from '../ids.ts';
import { MESSAGE_VERSION } from './common.ts';

export const TrustPurpose = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'not a trust purpose');

export const MessageSignerEntry = z.object({
  /** SHA-256 of the SubjectPublicKeyInfo (DER). */
  spkiSha256: Sha256,
  role: z.enum(['current', 'standby']),
});
export type MessageSignerEntry = z.infer<typeof MessageSignerEntry>;

export const TrustBundle = z.object({
  v: z.literal(MESSAGE_VERSION),
  type: z.literal('trust-bundle'),
  realm: Realm,
  version: TrustVersion,
  /** SHA-256 of the bundle before, as published (CMS, DER); null on version 1. */
  previous: Sha256.nullable(),
  issuedAt: Timestamp,
  expiresAt: Timestamp,
  /**
   * Certificates (DER, base64) by purpose. `identity`: device certificates; `transport`: TLS servers; `messages`:
   * signers of updates and of the next bundle; others as the operator adds them.
   */
  anchors: z
    .object({ identity: z.array(Base64).min(1), transport: z.array(Base64).min(1), messages: z.array(Base64).min(1) })
    .catchall(z.array(Base64)),
  messageSigners: z.array(MessageSignerEntry).min(1).max(8),
});
export type TrustBundle = z.infer<typeof TrustBundle>;
