/** What to do with an update whose signature and signer have been verified: the rules of D§7, in their order. */
import type { ErrorCode } from '#schema/errors.ts';
import type { DeviceId, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';
import type { TimeReading } from '../clock/trusted-time.ts';

export interface DeviceFacts {
  readonly realm: Realm;
  readonly device: DeviceId;
  readonly lastSeq: Seq;
  readonly lastDigest: Sha256 | undefined;
  readonly trustVersion: TrustVersion;
}

export type UpdateDecision =
  | { readonly kind: 'apply' }
  /** The same bytes again: the last report is sent again. */
  | { readonly kind: 'repeat' }
  /** Trust has to be walked first; then the same update is decided again. */
  | { readonly kind: 'walk-trust'; readonly to: TrustVersion }
  | { readonly kind: 'refuse'; readonly code: ErrorCode; readonly message: string };

const refuse = (code: ErrorCode, message: string): UpdateDecision => ({ kind: 'refuse', code, message });

/**
 * `update` must have been verified; `digest` is SHA-256 of its CMS. `time` may only refuse by what is certain: its floor
 * (the time itself once the gateway confirmed it). The local clock alone never refuses a higher `seq`.
 */
export function decideUpdate(facts: DeviceFacts, update: Update, digest: Sha256, time: TimeReading): UpdateDecision {
  if (update.realm !== facts.realm) return refuse('message.wrong-realm', `the update is for realm ${update.realm}`);
  if (update.device !== facts.device) return refuse('message.wrong-device', `the update is for ${update.device}`);
  if (update.seq <= facts.lastSeq) {
    if (update.seq < facts.lastSeq) {
      return refuse('message.replayed', `update ${update.seq} is older than ${facts.lastSeq}, which was processed`);
    }
    return digest === facts.lastDigest
      ? { kind: 'repeat' }
      : refuse('message.conflict', `another update ${update.seq} than the one that was processed`);
  }
  if (Date.parse(update.expiresAt) <= time.floor.getTime()) {
    return refuse('message.expired', `update ${update.seq} expired at ${update.expiresAt}`);
  }
  if (update.trustVersion > facts.trustVersion) return { kind: 'walk-trust', to: update.trustVersion };
  return { kind: 'apply' };
}
