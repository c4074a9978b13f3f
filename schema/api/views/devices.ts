/** Devices and enrolment requests as operators see them. */
import { z } from 'zod';
import {
  Base64,
  DeviceClass,
  DeviceId,
  EnrolmentId,
  KeySetName,
  KeyVersionNumber,
  RolloutId,
  Serial,
  Sha256,
  SiteName,
  Timestamp,
} from '../../ids.ts';
import { KeyCheckValue } from '../../messages/common.ts';
import { PageLimit, pageOf, QueryFlag } from './common.ts';
import { TargetStateName } from './rollouts.ts';

export const DeviceStateName = z.enum(['registered', 'enrolled', 'quarantined', 'revoked']);
export type DeviceStateName = z.infer<typeof DeviceStateName>;

export const DeviceSummaryView = z.object({
  id: DeviceId,
  class: DeviceClass,
  site: SiteName,
  serialNumber: z.string(),
  labels: z.record(z.string(), z.string()),
  state: DeviceStateName,
  /** Error code that led to quarantine. */
  stateCode: z.string().nullable(),
  stateSince: Timestamp,
  connected: z.boolean(),
  lastSeenAt: Timestamp.nullable(),
  trustVersion: z.int(),
});
export type DeviceSummaryView = z.infer<typeof DeviceSummaryView>;

export const CertificateView = z.object({
  serial: Serial,
  /** Key label of the issuing CA. */
  issuer: z.string(),
  /** `current` proves the device today; `next` takes its place on first use. */
  slot: z.enum(['current', 'next']).nullable(),
  state: z.enum(['intended', 'issued', 'revoked', 'withheld']),
  /** SHA-256 of the certificate, DER; null until it is signed. */
  fingerprint: Sha256.nullable(),
  spkiSha256: Sha256,
  notBefore: Timestamp,
  notAfter: Timestamp,
  createdAt: Timestamp,
  revokedAt: Timestamp.nullable(),
  /** DER, base64; null until it is signed. */
  der: Base64.nullable(),
});
export type CertificateView = z.infer<typeof CertificateView>;

export const DeviceKeyVersionView = z.object({
  keySet: KeySetName,
  version: KeyVersionNumber,
  /** What the device last proved; `offered` was sent and not answered yet. */
  state: z.string(),
  kcv: KeyCheckValue.nullable(),
  changedAt: Timestamp,
});
export type DeviceKeyVersionView = z.infer<typeof DeviceKeyVersionView>;

export const DeviceTargetView = z.object({
  rollout: RolloutId,
  wave: z.int(),
  state: TargetStateName,
  code: z.string().nullable(),
  deferredUntil: Timestamp.nullable(),
  offeredAt: Timestamp.nullable(),
  changedAt: Timestamp,
});
export type DeviceTargetView = z.infer<typeof DeviceTargetView>;

export const DeviceDetailView = DeviceSummaryView.extend({
  createdAt: Timestamp,
  address: z.string().nullable(),
  agentVersion: z.string().nullable(),
  clockTrusted: z.boolean(),
  lastReportAt: Timestamp.nullable(),
  /** Sequence number of the last update recorded for the device, and the last one that it confirmed. */
  seq: z.int(),
  lastSeq: z.int(),
  /** When the dispatcher looks at the device again; null when nothing is due. */
  dueAt: Timestamp.nullable(),
  attempts: z.int(),
  certificates: z.array(CertificateView),
  keys: z.array(DeviceKeyVersionView),
  targets: z.array(DeviceTargetView),
});
export type DeviceDetailView = z.infer<typeof DeviceDetailView>;

export const DeviceQuery = z.object({
  class: DeviceClass.optional(),
  site: SiteName.optional(),
  state: DeviceStateName.optional(),
  connected: QueryFlag.optional(),
  /** Only ids after this one. */
  after: DeviceId.optional(),
  limit: PageLimit,
});

export const DevicePage = pageOf(DeviceSummaryView);
export type DevicePage = z.infer<typeof DevicePage>;

export const EnrolmentStateName = z.enum(['pending', 'approved', 'refused', 'issued']);

export const EnrolmentView = z.object({
  id: EnrolmentId,
  /** Device that the request claims, or that the engineer assigned. */
  device: DeviceId.nullable(),
  /** Error code that says why it was parked. */
  reason: z.string(),
  source: z.string().nullable(),
  state: EnrolmentStateName,
  requestedAt: Timestamp,
  decidedAt: Timestamp.nullable(),
  decidedBy: z.string().nullable(),
  csrSha256: Sha256,
  /** PKCS#10, DER, base64. */
  csr: Base64,
});
export type EnrolmentView = z.infer<typeof EnrolmentView>;

export const EnrolmentQuery = z.object({ state: EnrolmentStateName.optional(), limit: PageLimit });
export const EnrolmentList = z.object({ items: z.array(EnrolmentView) });
