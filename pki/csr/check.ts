/** What a request must prove before anybody thinks about its subject: possession of the key, and that the key is sound. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { algorithmOfPublicKey, parsePublicKey, type ParsedPublicKey } from '#pki/certificate/public-key.ts';
import { isAcceptedSignatureAlgorithm, loadPublicKey, verifySignature } from '#pki/certificate/signature-algorithm.ts';
import type { ParsedCsr } from './parse.ts';
import { hasCloseFactors, hasRocaFingerprint, smallFactor } from './rsa-weakness.ts';

/**
 * Verifies that the request is signed by the key it carries, with SHA-256 or stronger. The key itself may still be weak
 * (`checkPublicKey`), and the request may be a copy of somebody else's. Errors: `csr.signature-invalid`.
 */
export function verifyProofOfPossession(csr: ParsedCsr): void {
  if (!isAcceptedSignatureAlgorithm(csr.signatureAlgorithm)) {
    throw new CroupierError(
      'csr.signature-invalid',
      'the request is signed with an algorithm that is not accepted: use ECDSA or RSA (PKCS#1 v1.5) with SHA-256 or stronger, or Ed25519',
    );
  }
  if (!verifySignature(csr.spki, csr.signatureAlgorithm, csr.info, csr.signature)) {
    throw new CroupierError('csr.signature-invalid', 'the request is not signed by the key it carries');
  }
}

const weak = (what: string): CroupierError => new CroupierError('csr.key-weak', `the public key was refused: ${what}`);

function describe(key: ParsedPublicKey): string {
  if (key.type === 'RSA') return `RSA with ${key.modulusBits} bits`;
  return key.type === 'other' ? key.description : key.algorithm;
}

const toBigInt = (magnitude: Uint8Array): bigint => BigInt(`0x${Buffer.from(magnitude).toString('hex') || '0'}`);

/** FIPS 186-5, A.1.1 and SP 800-89, 5.3.3, as far as a public key shows it. */
function checkRsa(key: Extract<ParsedPublicKey, { type: 'RSA' }>): void {
  const exponent = toBigInt(key.exponent.subarray(0, 33));
  if (exponent < 65537n || exponent >= 1n << 256n || (exponent & 1n) === 0n) {
    throw weak('the RSA exponent must be odd and between 65537 and 2^256');
  }
  const modulus = toBigInt(key.modulus);
  if ((modulus & 1n) === 0n) throw weak('the RSA modulus is even');
  const factor = smallFactor(modulus);
  if (factor !== undefined) throw weak(`the RSA modulus has the factor ${factor}`);
  if (hasRocaFingerprint(modulus)) throw weak('the RSA key has the fingerprint of CVE-2017-15361 (ROCA)');
  if (hasCloseFactors(modulus)) throw weak('the primes of the RSA key are too close to each other (CVE-2022-26320)');
}

/** SP 800-56A, 5.6.2.3.3; the cofactor of P-256 and P-384 is 1, so a point on the curve has full order. */
function checkPoint(key: Extract<ParsedPublicKey, { type: 'EC' }>, spki: Uint8Array): void {
  const size = key.algorithm === 'EC-P256' ? 65 : 97;
  // One encoding per key, or the same key could return in another guise.
  if (key.point.length !== size || key.point[0] !== 0x04) throw weak('the EC point is not in uncompressed form');
  try {
    loadPublicKey(spki);
  } catch (error) {
    throw new CroupierError('csr.key-weak', 'the public key was refused: the EC point is not on the curve', {
      cause: error,
    });
  }
}

function readKey(spki: Uint8Array): ParsedPublicKey {
  try {
    return parsePublicKey(spki);
  } catch (error) {
    throw new CroupierError('csr.malformed', 'the public key of the request cannot be parsed', { cause: error });
  }
}

function allowedType(key: ParsedPublicKey, allowed: readonly KeyAlgorithm[]): KeyAlgorithm {
  const algorithm = algorithmOfPublicKey(key);
  if (algorithm !== undefined && allowed.includes(algorithm)) return algorithm;
  throw new CroupierError(
    'csr.key-type-refused',
    `a key of ${describe(key)} is not allowed here; allowed: ${allowed.join(', ')}`,
  );
}

/**
 * Checks the type alone, of a key that `checkPublicKey` has found sound. Errors: `csr.malformed`,
 * `csr.key-type-refused`.
 */
export function checkKeyType(spki: Uint8Array, allowed: readonly KeyAlgorithm[]): KeyAlgorithm {
  return allowedType(readKey(spki), allowed);
}

/**
 * Checks that a public key (SubjectPublicKeyInfo, DER) is of an allowed type and sound: EC on a named curve with the
 * point on it; RSA of exactly an allowed size, odd modulus without small or close factors and without the ROCA
 * fingerprint, exponent odd and at least 65537. Whether somebody has used the key before is not checked here.
 * Errors: `csr.malformed`, `csr.key-type-refused`, `csr.key-weak`.
 */
export function checkPublicKey(spki: Uint8Array, allowed: readonly KeyAlgorithm[]): KeyAlgorithm {
  const key = readKey(spki);
  if (key.type === 'RSA' && key.modulusBits < 2048) throw weak(`RSA with ${key.modulusBits} bits is too short`);
  const algorithm = allowedType(key, allowed);
  if (key.type === 'RSA') checkRsa(key);
  else if (key.type === 'EC') checkPoint(key, spki);
  else if (key.type === 'Ed25519' && key.key.length !== 32) throw weak('an Ed25519 key has 32 octets');
  return algorithm;
}
