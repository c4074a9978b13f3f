/**
 * Certification path validation (RFC 5280, 6) for Croupier's profile: no policies, no name constraints, and an anchor may
 * be an intermediate certificate. Revocation is not checked here.
 */
import { type X509Certificate, createHash, hash, type KeyObject } from 'node:crypto';
import { allowedKey, candidate, checkPath, nameOf, untrusted, type Candidate } from './chain-rules.ts';
import { equalBytes } from './public-key.ts';

export interface ChainTrust {
  /** Trusted CA certificates, DER: roots or intermediates. */
  readonly anchors: readonly Uint8Array[];
  /** The time at which every certificate of the path must be valid; `ignore-time` for links that only need history. */
  readonly at: Date | 'ignore-time';
  /** Object identifier that the leaf's extended key usage must name; anyExtendedKeyUsage does not stand for it. */
  readonly extendedKeyUsage?: string;
}

export interface ValidatedChain {
  readonly leaf: X509Certificate;
  /** The leaf's public key, imported once. */
  readonly publicKey: KeyObject;
  /** Leaf first, anchor last, DER. */
  readonly path: readonly Uint8Array[];
  /** The time in which all certificates of the path are valid. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Longest path considered, anchor included, and the most signatures checked on the search for one. */
const MAXIMUM_PATH = 8;
const MAXIMUM_SIGNATURE_CHECKS = 64;
const MAXIMUM_CERTIFICATES = 64;

/**
 * Paths found before, by leaf certificate, anchors and usage; the least recently used go first. Only successes are kept,
 * and the time of each question is compared anew. The caller owns it and makes a new one whenever it likes.
 */
export class ChainCache {
  private readonly entries = new Map<string, ValidatedChain>();
  private readonly limit: number;

  constructor(limit = 256) {
    this.limit = limit;
  }

  get size(): number {
    return this.entries.size;
  }

  /** The path found for this question before, if all its certificates are valid at the time asked for. */
  find(leaf: Uint8Array, trust: ChainTrust): ValidatedChain | undefined {
    const key = ChainCache.keyOf(leaf, trust);
    const found = this.entries.get(key);
    if (found === undefined) return undefined;
    if (trust.at !== 'ignore-time' && (trust.at < found.notBefore || trust.at > found.notAfter)) return undefined;
    this.entries.delete(key);
    this.entries.set(key, found);
    return found;
  }

  keep(leaf: Uint8Array, trust: ChainTrust, chain: ValidatedChain): void {
    const key = ChainCache.keyOf(leaf, trust);
    this.entries.delete(key);
    this.entries.set(key, chain);
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.limit) break;
      this.entries.delete(oldest);
    }
  }

  /** Unambiguous, since every part but the last is DER or of fixed length. */
  private static keyOf(leaf: Uint8Array, { anchors, extendedKeyUsage = '' }: ChainTrust): string {
    const digest = createHash('sha256').update(hash('sha256', leaf, 'buffer'));
    for (const anchor of anchors) digest.update(hash('sha256', anchor, 'buffer'));
    return digest.update('\0').update(extendedKeyUsage).digest('base64');
  }
}

/** Paths from the leaf to an anchor whose names and signatures hold, shortest branch to an anchor first. */
function* paths(
  leaf: Candidate,
  intermediates: readonly Candidate[],
  anchors: readonly Candidate[],
): Generator<Candidate[]> {
  let checks = 0;
  const isIssued = (subject: Candidate, issuer: Candidate): boolean => {
    if (!equalBytes(subject.fields.issuer, issuer.fields.subject)) return false;
    checks += 1;
    if (checks > MAXIMUM_SIGNATURE_CHECKS) throw untrusted('the search for a path took too many steps');
    const key = allowedKey(issuer);
    return key !== undefined && subject.x509.checkIssued(issuer.x509) && subject.x509.verify(key);
  };
  function* extend(path: Candidate[]): Generator<Candidate[]> {
    const last = path.at(-1);
    if (last === undefined || path.length >= MAXIMUM_PATH) return;
    for (const anchor of anchors) if (isIssued(last, anchor)) yield [...path, anchor];
    for (const issuer of intermediates) {
      if (!path.some((one) => equalBytes(one.fields.der, issuer.fields.der)) && isIssued(last, issuer))
        yield* extend([...path, issuer]);
    }
  }
  yield* extend([leaf]);
}

function describe(path: readonly Candidate[], leaf: Candidate): ValidatedChain {
  const from = path.map(({ fields }) => fields.notBefore.getTime());
  const to = path.map(({ fields }) => fields.notAfter.getTime());
  return {
    leaf: leaf.x509,
    publicKey: leaf.x509.publicKey,
    path: path.map(({ fields }) => fields.der),
    notBefore: new Date(Math.max(...from)),
    notAfter: new Date(Math.min(...to)),
  };
}

/**
 * Validates `leaf` through `intermediates` (in any order, untrusted) to one of `trust.anchors`. All certificates DER.
 *
 * On return these hold, for a path from the leaf to an anchor: issuer and subject names are equal byte for byte, key
 * identifiers match, every signature verifies with SHA-256 or better and an allowed key, every certificate (the anchor
 * too) is valid at `trust.at`, every issuer is a CA with keyCertSign within its path length, an issuer's extended key usage (a
 * self-signed root's excepted) contains the leaf's, no critical extension is unknown, the leaf is no CA, has
 * digitalSignature and the extended key usage asked for. Not verified: revocation, names, policies.
 *
 * With a `cache`, a path once found for the same leaf, anchors and usage is taken from there while it is valid.
 * Errors: `certificate.malformed`, `certificate.untrusted`, `certificate.purpose-refused`, `certificate.expired`,
 * `certificate.not-yet-valid`.
 */
export function validateChain(
  leaf: Uint8Array,
  intermediates: readonly Uint8Array[],
  trust: ChainTrust,
  cache?: ChainCache,
): ValidatedChain {
  const known = cache?.find(leaf, trust);
  if (known !== undefined) return known;
  if (intermediates.length > MAXIMUM_CERTIFICATES) throw untrusted('the chain has too many certificates');
  const start = candidate(leaf);
  let failure: unknown;
  for (const path of paths(start, intermediates.map(candidate), trust.anchors.map(candidate))) {
    try {
      checkPath(path, trust.at, trust.extendedKeyUsage);
    } catch (error) {
      failure ??= error;
      continue;
    }
    const validated = describe(path, start);
    cache?.keep(leaf, trust, validated);
    return validated;
  }
  throw failure ?? untrusted(`${nameOf(start)} does not chain to a trusted anchor`);
}
