/** One trust bundle (D§7): read, and verified by the one before it or by the root of the ticket. */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { ChainCache } from '#pki/certificate/chain.ts';
import { parseSignedData, verifyMessage, type MessageTrust } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
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

function verifyBy(bundle: ReadBundle, anchors: readonly Uint8Array[], pins: readonly string[]): void {
  const trust: MessageTrust = {
    anchors,
    // A link is kept for ever: its signer had to be valid when it was made.
    at: new Date(bundle.body.issuedAt),
    extendedKeyUsage: OID.messageSigning,
    pinnedSpkiSha256: pins,
  };
  verifyMessage(bundle.der, trust, { ...LIMITS, cache: signerChains });
}

function checkRealm(bundle: ReadBundle, realm: Realm): void {
  if (bundle.body.realm === realm) return;
  throw new CroupierError(
    'message.wrong-realm',
    `the trust bundle belongs to realm ${bundle.body.realm}, not ${realm}`,
  );
}

/**
 * Verifies the first bundle that a device takes, of any version: a signer that the bundle itself lists chains to `root`
 * (DER, already compared with the ticket) with the usage messageSigning, and the realm is ours. Expiry is the walk's
 * business. Errors: `message.*`, `certificate.*`.
 */
export function verifyGenesis(bundle: ReadBundle, root: Uint8Array, realm: Realm): void {
  verifyBy(bundle, [root], bundle.pinnedSpkiSha256);
  checkRealm(bundle, realm);
}

/**
 * Verifies the link from `held` to `next`: version N+1, the digest of N, signed by a signer that N trusts and by one
 * that N+1 trusts. Expiry is the walk's business.
 * Errors: `trust.rollback`, `trust.link-missing`, `trust.link-forked`, `message.*`, `certificate.*`.
 */
export function verifyLink(held: ReadBundle, next: ReadBundle): void {
  verifyBy(next, held.anchors.messages, held.pinnedSpkiSha256);
  verifyBy(next, next.anchors.messages, next.pinnedSpkiSha256);
  checkRealm(next, held.body.realm);
  const { version } = next.body;
  const at = held.body.version;
  if (version <= at) {
    throw version === at
      ? new CroupierError('trust.link-forked', `another trust bundle ${version} than the one held`)
      : new CroupierError('trust.rollback', `trust bundle ${version} is older than ${at}, which is held`);
  }
  if (version > at + 1) {
    throw new CroupierError('trust.link-missing', `trust bundle ${version} does not follow ${at}, which is held`);
  }
  if (next.body.previous !== held.digest) {
    throw new CroupierError(
      'trust.link-forked',
      `trust bundle ${version} does not descend from the ${at} that is held`,
    );
  }
}
