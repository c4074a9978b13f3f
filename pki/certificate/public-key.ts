/** SubjectPublicKeyInfo (RFC 5280, 4.1.2.7; RFC 3279, 5480, 8410): what kind of key it is, read strictly. */
import { hash } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { readSequence, type DerReader } from '#pki/der/reader.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';

export type ParsedPublicKey =
  | { readonly type: 'EC'; readonly algorithm: 'EC-P256' | 'EC-P384'; readonly point: Uint8Array }
  | { readonly type: 'RSA'; readonly modulus: Uint8Array; readonly modulusBits: number; readonly exponent: Uint8Array }
  | { readonly type: 'Ed25519'; readonly algorithm: 'Ed25519'; readonly key: Uint8Array }
  | { readonly type: 'other'; readonly description: string };

const CURVES: ReadonlyMap<string, 'EC-P256' | 'EC-P384'> = new Map([
  [OID.p256, 'EC-P256'],
  [OID.p384, 'EC-P384'],
]);

const RSA_SIZES: ReadonlyMap<number, KeyAlgorithm> = new Map([
  [2048, 'RSA-2048'],
  [3072, 'RSA-3072'],
  [4096, 'RSA-4096'],
]);

function readEc(algorithm: DerReader, key: Uint8Array): ParsedPublicKey {
  if (algorithm.peek() !== 0x06) return { type: 'other', description: 'EC with explicit or implicit parameters' };
  const curveOid = algorithm.oid('curve');
  algorithm.end('algorithm');
  const curve = CURVES.get(curveOid);
  return curve === undefined
    ? { type: 'other', description: `EC on curve ${curveOid}` }
    : { type: 'EC', algorithm: curve, point: key };
}

function bitLength(magnitude: Uint8Array): number {
  const first = magnitude[0] ?? 0;
  return first === 0 ? 0 : magnitude.length * 8 - Math.clz32(first) + 24;
}

/** A non-negative INTEGER without its sign octet. */
function positive(reader: DerReader, what: string): Uint8Array {
  const bytes = reader.integerBytes(what);
  const [first = 0] = bytes;
  if (first >= 0x80) throw new CroupierError('der.malformed', `malformed DER: ${what} is negative`);
  return first === 0 && bytes.length > 1 ? bytes.subarray(1) : bytes;
}

function readRsa(algorithm: DerReader, key: Uint8Array): ParsedPublicKey {
  if (algorithm.expect(0x05, 'RSA parameters').content.length > 0) {
    throw new CroupierError('der.malformed', 'malformed DER: RSA parameters are not NULL');
  }
  algorithm.end('algorithm');
  const body = readSequence(key, 'RSAPublicKey');
  const modulus = positive(body, 'RSA modulus');
  const exponent = positive(body, 'RSA exponent');
  body.end('RSAPublicKey');
  return { type: 'RSA', modulus, modulusBits: bitLength(modulus), exponent };
}

/**
 * Reads a SubjectPublicKeyInfo, DER. Only the encoding is checked (one encoding per key, so that equal keys have equal
 * bytes); whether the point is on the curve or the modulus is sound is `checkPublicKey`'s business.
 * Errors: `der.malformed`.
 */
export function parsePublicKey(spki: Uint8Array): ParsedPublicKey {
  const outer = readSequence(spki, 'SubjectPublicKeyInfo');
  const algorithm = outer.sequence('key algorithm');
  const type = algorithm.oid('key algorithm');
  const key = outer.bitString('public key');
  outer.end('SubjectPublicKeyInfo');
  switch (type) {
    case OID.ecPublicKey:
      return readEc(algorithm, key);
    case OID.rsaEncryption:
      return readRsa(algorithm, key);
    case OID.ed25519:
      algorithm.end('algorithm');
      return { type: 'Ed25519', algorithm: 'Ed25519', key };
    default:
      return { type: 'other', description: `algorithm ${type}` };
  }
}

/** The name of the key's algorithm, or undefined if Croupier does not know it (another curve, another RSA size …). */
export function algorithmOfPublicKey(key: ParsedPublicKey): KeyAlgorithm | undefined {
  if (key.type === 'EC' || key.type === 'Ed25519') return key.algorithm;
  return key.type === 'RSA' ? RSA_SIZES.get(key.modulusBits) : undefined;
}

/** The key identifier of RFC 7093, section 2, method 1: leftmost 160 bits of SHA-256 over the key bits. 20 bytes. */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  const outer = readSequence(spki, 'SubjectPublicKeyInfo');
  outer.sequence('key algorithm');
  return hash('sha256', outer.bitString('public key'), 'buffer').subarray(0, 20);
}

/** SHA-256 over the SubjectPublicKeyInfo, lower-case hex: the name under which a public key is remembered. */
export function publicKeyFingerprint(spki: Uint8Array): string {
  return hash('sha256', spki, 'hex');
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
