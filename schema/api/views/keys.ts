/** Key sets and the trust history. No view holds key bytes, wrapped or not. */
import { z } from 'zod';
import { Base64, KeySetName, KeyVersionNumber, Sha256, Timestamp, TrustVersion } from '../../ids.ts';
import { KeyCheckValue, WorkingKeyAlgorithm, WorkingKeyUse } from '../../messages/common.ts';
import { TrustBundle } from '../../messages/trust-bundle.ts';
import { Selector } from '../../policy.ts';
import { PageLimit } from './common.ts';

/** NIST SP 800-57 part 1, section 7. */
export const KeyVersionStateName = z.enum([
  'pre-activation',
  'active',
  'suspended',
  'deactivated',
  'compromised',
  'destroyed',
]);

export const KeyVersionView = z.object({
  version: KeyVersionNumber,
  state: KeyVersionStateName,
  kcv: KeyCheckValue,
  /** Label of the key-encryption key in the HSM. */
  kek: z.string(),
  createdAt: Timestamp,
  activatedAt: Timestamp.nullable(),
  deactivatedAt: Timestamp.nullable(),
  /** Accepted nowhere from then on. */
  retiredAt: Timestamp.nullable(),
  /** When it was found or declared compromised, whatever state it is in. */
  compromisedAt: Timestamp.nullable(),
  destroyedAt: Timestamp.nullable(),
});
export type KeyVersionView = z.infer<typeof KeyVersionView>;

/** Where a key set stands in its cryptoperiod. */
export const RotationView = z.object({
  /** `under-way`: a newer version is on its way to the devices. */
  state: z.enum(['in-period', 'due', 'overdue', 'under-way']),
  /** Null without an active version. */
  dueAt: Timestamp.nullable(),
  endsAt: Timestamp.nullable(),
  /** What the gateway does when it is due: nothing, an alert, or a rotation. */
  start: z.enum(['manual', 'propose', 'automatic']),
  /** Rollout plan that such a rotation takes. */
  plan: z.string(),
});
export type RotationView = z.infer<typeof RotationView>;

export const KeySetView = z.object({
  name: KeySetName,
  algorithm: WorkingKeyAlgorithm,
  use: WorkingKeyUse,
  scope: z.enum(['shared', 'per-device']),
  selector: Selector,
  cryptoperiodMs: z.number(),
  /** When the active version's cryptoperiod ends; null without an active version. */
  rotateBy: Timestamp.nullable(),
  rotation: RotationView,
  activeVersion: KeyVersionNumber.nullable(),
  revision: z.int(),
  createdAt: Timestamp,
  versions: z.array(KeyVersionView),
});
export type KeySetView = z.infer<typeof KeySetView>;
export const KeySetList = z.object({ items: z.array(KeySetView) });

export const KeySetDetailView = KeySetView.extend({
  /** How many devices are in each state of each version. */
  devices: z.array(z.object({ version: KeyVersionNumber, state: z.string(), devices: z.int() })),
});
export type KeySetDetailView = z.infer<typeof KeySetDetailView>;

export const TrustBundleSummaryView = z.object({
  version: TrustVersion,
  /** SHA-256 of the bundle as published (CMS, DER). */
  sha256: Sha256,
  previous: Sha256.nullable(),
  issuedAt: Timestamp,
  expiresAt: Timestamp,
  /** Number of anchors by purpose. */
  anchors: z.record(z.string(), z.int()),
});
export type TrustBundleSummaryView = z.infer<typeof TrustBundleSummaryView>;

export const TrustBundleView = TrustBundleSummaryView.extend({
  body: TrustBundle,
  /** SignedData, DER, base64. */
  cms: Base64,
});
export type TrustBundleView = z.infer<typeof TrustBundleView>;

export const TrustQuery = z.object({
  /** Only versions after this one. */
  after: z.coerce.number().pipe(TrustVersion).default(TrustVersion.parse(0)),
  limit: PageLimit,
});
export const TrustList = z.object({ items: z.array(TrustBundleSummaryView), latest: TrustVersion.nullable() });
