/** The names of things, each with its own type, so that one cannot stand where another belongs. */
import { z } from 'zod';

const name = (pattern: RegExp, what: string): z.ZodString => z.string().regex(pattern, `not a ${what}`);

/** One environment: the SPIFFE trust domain. */
export const Realm = name(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'realm name').brand<'Realm'>();
export type Realm = z.infer<typeof Realm>;

/** The certificate's common name and the MQTT client id; safe in topics, paths and URIs. */
export const DeviceId = name(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/, 'device id').brand<'DeviceId'>();
export type DeviceId = z.infer<typeof DeviceId>;

export const SiteName = name(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'site name').brand<'SiteName'>();
export type SiteName = z.infer<typeof SiteName>;

export const DeviceClass = name(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'device class').brand<'DeviceClass'>();
export type DeviceClass = z.infer<typeof DeviceClass>;

export const KeySetName = name(/^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$/, 'key set name').brand<'KeySetName'>();
export type KeySetName = z.infer<typeof KeySetName>;

export const OperatorName = name(/^[a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?$/, 'operator name').brand<'OperatorName'>();
export type OperatorName = z.infer<typeof OperatorName>;

/** Certificate serial number: lower-case hex without leading zeros beyond whole octets. */
export const Serial = name(/^(?:[0-9a-f]{2}){1,20}$/, 'certificate serial number').brand<'Serial'>();
export type Serial = z.infer<typeof Serial>;

/** Lower-case hex SHA-256. */
export const Sha256 = name(/^[0-9a-f]{64}$/, 'SHA-256 digest').brand<'Sha256'>();
export type Sha256 = z.infer<typeof Sha256>;

export const RolloutId = z.uuid().brand<'RolloutId'>();
export type RolloutId = z.infer<typeof RolloutId>;

export const ApprovalId = z.uuid().brand<'ApprovalId'>();
export type ApprovalId = z.infer<typeof ApprovalId>;

export const EnrolmentId = z.uuid().brand<'EnrolmentId'>();
export type EnrolmentId = z.infer<typeof EnrolmentId>;

export const KeyVersionNumber = z.int().min(1).max(1_000_000).brand<'KeyVersionNumber'>();
export type KeyVersionNumber = z.infer<typeof KeyVersionNumber>;

/** Number of a trust bundle; 0 on a device that holds none yet. */
export const TrustVersion = z.int().min(0).max(1_000_000).brand<'TrustVersion'>();
export type TrustVersion = z.infer<typeof TrustVersion>;

/**
 * Sequence number of an update: at least the gateway's clock in milliseconds. The bound, far beyond any clock, keeps the
 * numbers that follow what a device claims exact integers.
 */
export const Seq = z
  .int()
  .min(0)
  .max(2 ** 52)
  .brand<'Seq'>();
export type Seq = z.infer<typeof Seq>;

/** RFC 3339, UTC, milliseconds. */
export const Timestamp = z.iso.datetime({ precision: 3 });
export type Timestamp = z.infer<typeof Timestamp>;

/** Base64 without line breaks. */
export const Base64 = z.base64();

/** SPIFFE id of a device (its certificate's SAN URI). */
export function spiffeId(realm: Realm, site: SiteName, deviceClass: DeviceClass, device: DeviceId): string {
  return `spiffe://${realm}/${site}/${deviceClass}/${device}`;
}
