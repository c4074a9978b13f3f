/**
 * Links of a chain of trust bundles (D§7): whoever holds one, device or gateway, verifies the next one by it in the same
 * way. What a bundle says beyond its place in the chain is not looked at here.
 */
import type { ChainCache } from '#pki/certificate/chain.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
import { verifyMessage, type MessageTrust } from './verify.ts';

/** A bundle as a link: its message and what its body says about chain and signers. */
export interface TrustLink {
  /** As published: CMS SignedData, DER. */
  readonly der: Uint8Array;
  /** SHA-256 of `der`, lower-case hex. */
  readonly digest: string;
  readonly realm: string;
  readonly version: number;
  /** Digest of the bundle before; null on the first. */
  readonly previous: string | null;
  readonly issuedAt: Date;
  /** Anchors of message signers, DER. */
  readonly messageAnchors: readonly Uint8Array[];
  /** SHA-256 of the SubjectPublicKeyInfo of the message signers, lower-case hex. */
  readonly pinnedSpkiSha256: readonly string[];
}

/** Largest bundle, and most signers of one. */
export interface LinkLimits {
  readonly maxBytes: number;
  readonly maxSigners: number;
  readonly cache?: ChainCache;
}

/**
 * On return a signer of `link` chains to one of `anchors` (DER) with the usage messageSigning, both valid when the link
 * was issued, and its key is one of `pins`. Nothing else is verified. Errors: `message.*`, `certificate.*`.
 */
export function verifyLinkSignature(
  link: Pick<TrustLink, 'der' | 'issuedAt'>,
  anchors: readonly Uint8Array[],
  pins: readonly string[],
  limits: LinkLimits,
): void {
  const trust: MessageTrust = {
    anchors,
    // A link is kept for ever: its signer had to be valid when it was made.
    at: link.issuedAt,
    extendedKeyUsage: OID.messageSigning,
    pinnedSpkiSha256: pins,
  };
  verifyMessage(link.der, trust, limits);
}

/** Errors: `message.wrong-realm`. */
export function requireRealm(link: Pick<TrustLink, 'realm'>, realm: string): void {
  if (link.realm === realm) return;
  throw new CroupierError('message.wrong-realm', `the trust bundle belongs to realm ${link.realm}, not ${realm}`);
}

/**
 * Verifies the link from `held` to `next`: version N+1, the digest of N, signed by a signer that N trusts and by one
 * that N+1 trusts. Not verified: expiry. Errors: `trust.rollback`, `trust.link-missing`, `trust.link-forked`, `message.*`,
 * `certificate.*`.
 */
export function verifyTrustLink(held: TrustLink, next: TrustLink, limits: LinkLimits): void {
  verifyLinkSignature(next, held.messageAnchors, held.pinnedSpkiSha256, limits);
  verifyLinkSignature(next, next.messageAnchors, next.pinnedSpkiSha256, limits);
  requireRealm(next, held.realm);
  const { version } = next;
  const at = held.version;
  if (version <= at) {
    throw version === at
      ? new CroupierError('trust.link-forked', `another trust bundle ${version} than the one held`)
      : new CroupierError('trust.rollback', `trust bundle ${version} is older than ${at}, which is held`);
  }
  if (version > at + 1) {
    throw new CroupierError('trust.link-missing', `trust bundle ${version} does not follow ${at}, which is held`);
  }
  if (next.previous !== held.digest) {
    throw new CroupierError(
      'trust.link-forked',
      `trust bundle ${version} does not descend from the ${at} that is held`,
    );
  }
}
