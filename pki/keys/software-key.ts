/** Keys in software: the identity keys of devices, and throwaway keys. Keys of CAs and signers live in a KeyStore. */
import { Buffer } from 'node:buffer';
import { createPrivateKey, createPublicKey, generateKeyPair, sign as signNative, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm, Signer } from './signer.ts';

const generate = promisify(generateKeyPair);
const signOnThreadPool = promisify(signNative);

/** A PKCS#8 file of RSA-4096 in PEM has about 3.3 KB; more than this is no private key. */
const PEM_LIMIT = 16_384;

export interface SoftwareKey {
  readonly privateKey: KeyObject;
  readonly signer: Signer;
}

/** Generates a key pair in memory. The caller stores it with `exportPrivateKeyPem`, mode 0600. */
export async function generateSoftwareKey(algorithm: KeyAlgorithm): Promise<SoftwareKey> {
  const privateKey = await generatePrivateKey(algorithm);
  return { privateKey, signer: softwareSigner(privateKey) };
}

function generatePrivateKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  const generator: Readonly<Record<KeyAlgorithm, () => Promise<{ readonly privateKey: KeyObject }>>> = {
    'EC-P256': () => generate('ec', { namedCurve: 'P-256' }),
    'EC-P384': () => generate('ec', { namedCurve: 'P-384' }),
    'RSA-2048': () => generate('rsa', { modulusLength: 2048 }),
    'RSA-3072': () => generate('rsa', { modulusLength: 3072 }),
    'RSA-4096': () => generate('rsa', { modulusLength: 4096 }),
    Ed25519: () => generate('ed25519'),
  };
  return generator[algorithm]().then(({ privateKey }) => privateKey);
}

/** Name of the hash that belongs to the algorithm, as node:crypto wants it; Ed25519 hashes by itself. */
export function hashOf(algorithm: KeyAlgorithm): 'sha256' | 'sha384' | null {
  if (algorithm === 'Ed25519') return null;
  return algorithm === 'EC-P384' ? 'sha384' : 'sha256';
}

/** OpenSSL's names of the curves. */
const CURVES: ReadonlyMap<string, KeyAlgorithm> = new Map([
  ['prime256v1', 'EC-P256'],
  ['secp384r1', 'EC-P384'],
]);
const MODULI: ReadonlyMap<number, KeyAlgorithm> = new Map([
  [2048, 'RSA-2048'],
  [3072, 'RSA-3072'],
  [4096, 'RSA-4096'],
]);

/**
 * The algorithm of a public (or private) key, or undefined if it is none that Croupier accepts: other curves, RSA of
 * other sizes or with an exponent other than 65537, RSA-PSS keys. Nothing else about the key is verified.
 */
export function keyAlgorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  const { namedCurve, modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ed25519') return 'Ed25519';
  if (key.asymmetricKeyType === 'ec' && namedCurve !== undefined) return CURVES.get(namedCurve);
  if (key.asymmetricKeyType === 'rsa' && publicExponent === 65_537n) return MODULI.get(modulusLength ?? 0);
  return undefined;
}

/**
 * A Signer on a private key in memory. Elliptic curve signatures are made at once (they take microseconds), RSA ones
 * on the thread pool. Errors: `input.invalid` for a key that is not private or of no accepted algorithm.
 */
export function softwareSigner(privateKey: KeyObject): Signer {
  const algorithm = keyAlgorithmOf(privateKey);
  if (privateKey.type !== 'private' || algorithm === undefined) {
    throw new CroupierError(
      'input.invalid',
      `cannot sign with a ${describeKey(privateKey)}: it must be a private key of P-256, P-384, RSA 2048, 3072 or 4096, or Ed25519`,
    );
  }
  const hash = hashOf(algorithm);
  const input = { key: privateKey, dsaEncoding: 'der' } as const;
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const sign = algorithm.startsWith('RSA')
    ? (data: Uint8Array): Promise<Uint8Array> => signOnThreadPool(hash, data, input)
    : async (data: Uint8Array): Promise<Uint8Array> => signNative(hash, data, input);
  return { algorithm, spki, sign };
}

function describeKey(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  return [key.type, 'key', key.asymmetricKeyType, namedCurve ?? modulusLength]
    .filter((part) => part !== undefined)
    .join(' ');
}

/** PKCS#8 (RFC 5958) in PEM (RFC 7468), not encrypted: the file's mode protects it. */
export function exportPrivateKeyPem(privateKey: KeyObject): string {
  return privateKey.export({ format: 'pem', type: 'pkcs8' });
}

/**
 * Reads a PKCS#8 PEM private key. Verified on return: it parses and its algorithm is one that Croupier accepts.
 * Errors: `input.too-large`, `input.invalid`; they never quote the input.
 */
export function importPrivateKeyPem(pem: string | Uint8Array): KeyObject {
  if (pem.length > PEM_LIMIT)
    throw new CroupierError(
      'input.too-large',
      `a private key file may have ${PEM_LIMIT} bytes, this has ${pem.length}`,
    );
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: typeof pem === 'string' ? pem : Buffer.from(pem), format: 'pem' });
  } catch {
    throw new CroupierError('input.invalid', 'the private key is not an unencrypted PKCS#8 PEM file');
  }
  if (keyAlgorithmOf(key) === undefined) {
    throw new CroupierError('input.invalid', `a ${describeKey(key)} is of no accepted algorithm`);
  }
  return key;
}
