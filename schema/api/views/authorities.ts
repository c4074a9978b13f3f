/** The authorities of the realm, and how far the devices know them. */
import { z } from 'zod';
import { Sha256, Timestamp, TrustVersion } from '../../ids.ts';

export const AuthorityRoleName = z.enum([
  'root',
  'device-ca',
  'operations-ca',
  'message-signer',
  'message-signer-standby',
  'audit-signer',
  'ocsp-responder',
]);
export const AuthorityStateName = z.enum(['prepared', 'next', 'current', 'previous', 'withdrawn', 'compromised']);

export const AuthorityView = z.object({
  role: AuthorityRoleName,
  keyLabel: z.string(),
  state: AuthorityStateName,
  createdAt: Timestamp,
  changedAt: Timestamp,
  /** Null while the key waits for its certificate. */
  certificate: z
    .object({
      subject: z.string(),
      serialNumber: z.string(),
      /** SHA-256 of the certificate, DER. */
      sha256: Sha256,
      notBefore: Timestamp,
      notAfter: Timestamp,
      /** Key label of the authority that certified it; null for a root. */
      issuer: z.string().nullable(),
      pem: z.string(),
    })
    .nullable(),
  /** Device CAs: devices whose certificate in use is of this CA. Null for others. */
  devices: z.int().nullable(),
});
export type AuthorityView = z.infer<typeof AuthorityView>;

export const AuthorityList = z.object({
  items: z.array(AuthorityView),
  /** The latest trust bundle, and who does not hold it yet. */
  trust: z.object({
    version: TrustVersion.nullable(),
    /** Connected: within seconds. */
    connectedBehind: z.int(),
    /** When they return. */
    awayBehind: z.int(),
  }),
});
export type AuthorityList = z.infer<typeof AuthorityList>;
