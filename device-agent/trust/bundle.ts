/** One trust bundle (D§7): read, and verified by the one before it or by the root of the ticket. */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { ChainCache } from '#pki/certificate/chain.ts';
import { requireRealm, verifyLinkSignature, verifyTrustLink, type TrustLink } from '#pki/cms/trust-link.ts';
import { parseSignedData } from '#pki/cms/verify.ts';
import { Sha256, type Realm } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { TrustBundle } from '#schema/messages/trust-bundle.ts';
import { readBody } from '../update/body.ts';

export interface ReadBundle {
  readonly body: TrustBundle;
  /** As published: CMS, DER. */
  readonly der: Uint8Array;
  /** SHA-256 of `der`. */
  readonly digest: Sha256;
  /** Certificates (DER) by purpose. */
  readonly anchors: Readonly<Record<string, readonly Uint8Array[]>> & {
    readonly identity: readonly Uint8Array[];
    readonly transport: readonly Uint8Array[];
    readonly messages: readonly Uint8Array[];
  };
  readonly pinnedSpkiSha256: readonly string[];
}

const LIMITS = { maxBytes: MAX_MESSAGE_BYTES, maxSigners: 4 };

/** Chains of message signers. They are the same for all devices of a realm, so that a process needs one. */
export const signerChains = new ChainCache(512);
const CACHED = { ...LIMITS, cache: signerChains };

/** Bundles read before, by digest, so that the agents of one process share them. What is verified is not kept here. */
const readBefore = new Map<string, ReadBundle>();
const READ_BEFORE = 64;

const certificates = (list: readonly string[]): Uint8Array[] => list.map((text) => Buffer.from(text, 'base64'));

function decode(der: Uint8Array, digest: Sha256): ReadBundle {
  const body = readBody(TrustBundle, parseSignedData(der, LIMITS).content, 'trust-bundle');
  const anchors: Record<string, readonly Uint8Array[]> = {};
  for (const [purpose, list] of Object.entries(body.anchors)) anchors[purpose] = certificates(list);
  return {
    body,
    der,
    digest,
    anchors: {
      ...anchors,
      identity: certificates(body.anchors.identity),
      transport: certificates(body.anchors.transport),
      messages: certificates(body.anchors.messages),
    },
    pinnedSpkiSha256: body.messageSigners.map(({ spkiSha256 }) => spkiSha256),
  };
}

/** Reads a bundle, CMS DER. Nothing is verified. Errors: `input.too-large`, `message.malformed`, `message.version-unsupported`. */
export function readBundle(der: Uint8Array): ReadBundle {
  const digest = Sha256.parse(hash('sha256', der, 'hex'));
  const known = readBefore.get(digest);
  if (known !== undefined) return known;
  const bundle = decode(der, digest);
  const oldest = readBefore.keys().next().value;
  if (readBefore.size >= READ_BEFORE && oldest !== undefined) readBefore.delete(oldest);
  readBefore.set(digest, bundle);
  return bundle;
}

function asLink({ body, der, digest, anchors, pinnedSpkiSha256 }: ReadBundle): TrustLink {
  const { realm, version, previous, issuedAt } = body;
  return {
    der,
    digest,
    realm,
    version,
    previous,
    issuedAt: new Date(issuedAt),
    messageAnchors: anchors.messages,
    pinnedSpkiSha256,
  };
}

/**
 * Verifies the first bundle that a device takes, of any version: a signer that the bundle itself lists chains to `root`
 * (DER, already compared with the ticket) with the usage messageSigning, and the realm is ours. Expiry is the walk's
 * business. Errors: `message.*`, `certificate.*`.
 */
export function verifyGenesis(bundle: ReadBundle, root: Uint8Array, realm: Realm): void {
  const link = asLink(bundle);
  verifyLinkSignature(link, [root], bundle.pinnedSpkiSha256, CACHED);
  requireRealm(link, realm);
}

/**
 * Verifies the link from `held` to `next`, as `verifyTrustLink`. Expiry is the walk's business.
 * Errors: `trust.rollback`, `trust.link-missing`, `trust.link-forked`, `message.*`, `certificate.*`.
 */
export function verifyLink(held: ReadBundle, next: ReadBundle): void {
  verifyTrustLink(asLink(held), asLink(next), CACHED);
}
