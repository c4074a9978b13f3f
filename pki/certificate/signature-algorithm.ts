/** Signature AlgorithmIdentifiers (RFC 4055, 5758, 8410) and verification under them. */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { OID } from '#pki/der/oid.ts';
import { DerReader } from '#pki/der/reader.ts';
import { nullValue, oid, sequence, type Der } from '#pki/der/writer.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { equalBytes } from './public-key.ts';

const ENCODED: Readonly<Record<KeyAlgorithm, Der>> = {
  'EC-P256': sequence(oid(OID.ecdsaWithSha256)),
  'EC-P384': sequence(oid(OID.ecdsaWithSha384)),
  'RSA-2048': sequence(oid(OID.sha256WithRsa), nullValue()),
  'RSA-3072': sequence(oid(OID.sha256WithRsa), nullValue()),
  'RSA-4096': sequence(oid(OID.sha256WithRsa), nullValue()),
  Ed25519: sequence(oid(OID.ed25519)),
};

/** AlgorithmIdentifier, DER, of the signatures that a `Signer` with this key makes. */
export function signatureAlgorithm(algorithm: KeyAlgorithm): Der {
  return ENCODED[algorithm];
}

interface Scheme {
  readonly keyType: 'ec' | 'rsa' | 'ed25519';
  readonly hash: string | null;
}

/** What is accepted from others: SHA-256 and stronger; SHA-1 and MD5 have no entry. */
const ACCEPTED: ReadonlyMap<string, Scheme> = new Map([
  [OID.ecdsaWithSha256, { keyType: 'ec', hash: 'sha256' }],
  [OID.ecdsaWithSha384, { keyType: 'ec', hash: 'sha384' }],
  [OID.ecdsaWithSha512, { keyType: 'ec', hash: 'sha512' }],
  [OID.sha256WithRsa, { keyType: 'rsa', hash: 'sha256' }],
  [OID.sha384WithRsa, { keyType: 'rsa', hash: 'sha384' }],
  [OID.sha512WithRsa, { keyType: 'rsa', hash: 'sha512' }],
  [OID.ed25519, { keyType: 'ed25519', hash: null }],
]);

/** Whether signatures under this AlgorithmIdentifier (DER) are accepted at all; weak hashes are not. */
export function isAcceptedSignatureAlgorithm(algorithmIdentifier: Uint8Array): boolean {
  return schemeOf(algorithmIdentifier) !== undefined;
}

function schemeOf(algorithmIdentifier: Uint8Array): Scheme | undefined {
  const fields = new DerReader(algorithmIdentifier).sequence('signature algorithm');
  const scheme = ACCEPTED.get(fields.oid('signature algorithm'));
  if (scheme === undefined) return undefined;
  // RFC 4055: NULL for RSA (some omit it); RFC 5758 and 8410: absent.
  const parameters = fields.done ? undefined : fields.next().whole;
  const fits = parameters === undefined || (scheme.keyType === 'rsa' && equalBytes(parameters, nullValue()));
  return fits && fields.done ? scheme : undefined;
}

/**
 * Whether `signature` over `data` verifies under the key and the AlgorithmIdentifier (DER) that came with it. False
 * too for a weak or unknown algorithm, one of another key type, and a key that cannot be loaded.
 */
export function verifySignature(
  key: Uint8Array | KeyObject,
  algorithmIdentifier: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  const scheme = schemeOf(algorithmIdentifier);
  if (scheme === undefined) return false;
  try {
    const publicKey = key instanceof Uint8Array ? loadPublicKey(key) : key;
    if (publicKey.asymmetricKeyType !== scheme.keyType) return false;
    return verify(scheme.hash, data, publicKey, signature);
  } catch {
    return false;
  }
}

/** A KeyObject from a SubjectPublicKeyInfo; throws what OpenSSL throws, also for a point off the curve. */
export function loadPublicKey(spki: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.length), format: 'der', type: 'spki' });
}
