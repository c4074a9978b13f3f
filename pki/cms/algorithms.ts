/** The signature algorithms that messages may use, and their CMS identifiers (RFC 5754). */
import type { KeyObject } from 'node:crypto';
import { nullValue, oid, sequence } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';
import type { DerReader } from '#pki/der/reader.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { CroupierError } from '#schema/errors.ts';

export type Hash = 'sha256' | 'sha384' | 'sha512';
export type SignatureFamily = 'ecdsa' | 'rsa';

const HASH_BY_OID: Readonly<Record<string, Hash | undefined>> = {
  [OID.sha256]: 'sha256',
  [OID.sha384]: 'sha384',
  [OID.sha512]: 'sha512',
};

interface SignatureIdentifier {
  readonly family: SignatureFamily;
  /** Absent where the identifier leaves the hash to the digest algorithm (rsaEncryption). */
  readonly hash?: Hash;
}

const SIGNATURE_BY_OID: Readonly<Record<string, SignatureIdentifier | undefined>> = {
  [OID.ecdsaWithSha256]: { family: 'ecdsa', hash: 'sha256' },
  [OID.ecdsaWithSha384]: { family: 'ecdsa', hash: 'sha384' },
  [OID.ecdsaWithSha512]: { family: 'ecdsa', hash: 'sha512' },
  [OID.sha256WithRsa]: { family: 'rsa', hash: 'sha256' },
  [OID.sha384WithRsa]: { family: 'rsa', hash: 'sha384' },
  [OID.sha512WithRsa]: { family: 'rsa', hash: 'sha512' },
  [OID.rsaEncryption]: { family: 'rsa' },
};

/** What a signer of this key type writes into its SignerInfo. */
export interface SigningSuite {
  readonly hash: Hash;
  /** AlgorithmIdentifier TLVs. */
  readonly digestAlgorithm: Uint8Array;
  readonly signatureAlgorithm: Uint8Array;
}

const ECDSA_P256: SigningSuite = {
  hash: 'sha256',
  digestAlgorithm: sequence(oid(OID.sha256)),
  signatureAlgorithm: sequence(oid(OID.ecdsaWithSha256)),
};
const ECDSA_P384: SigningSuite = {
  hash: 'sha384',
  digestAlgorithm: sequence(oid(OID.sha384)),
  signatureAlgorithm: sequence(oid(OID.ecdsaWithSha384)),
};
const RSA: SigningSuite = {
  hash: 'sha256',
  digestAlgorithm: sequence(oid(OID.sha256)),
  signatureAlgorithm: sequence(oid(OID.rsaEncryption), nullValue()),
};

const SUITES: Readonly<Record<KeyAlgorithm, SigningSuite | undefined>> = {
  'EC-P256': ECDSA_P256,
  'EC-P384': ECDSA_P384,
  'RSA-2048': RSA,
  'RSA-3072': RSA,
  'RSA-4096': RSA,
  Ed25519: undefined,
};

/** The suite of a key type. Errors: `input.invalid` for a type that messages do not use (Ed25519). */
export function signingSuite(algorithm: KeyAlgorithm): SigningSuite {
  const suite = SUITES[algorithm];
  if (suite === undefined) {
    throw new CroupierError('input.invalid', `messages are signed with ECDSA or RSA keys, not with ${algorithm}`);
  }
  return suite;
}

/** Parameters of a digest or RSA identifier: absent or NULL (RFC 5754, 2). */
function endOfParameters(identifier: DerReader, nullAllowed: boolean, what: string): void {
  if (nullAllowed && identifier.peek() === 0x05) {
    const { content } = identifier.next();
    if (content.length !== 0) throw new CroupierError('der.malformed', `malformed DER: ${what}: NULL with content`);
  }
  identifier.end(what);
}

/** Reads a digest AlgorithmIdentifier. Errors: `der.malformed`, also for a hash that is not allowed. */
export function readDigestAlgorithm(reader: DerReader): Hash {
  const identifier = reader.sequence('digest algorithm');
  const name = identifier.oid('digest algorithm');
  const hash = HASH_BY_OID[name];
  if (hash === undefined) throw new CroupierError('der.malformed', `digest algorithm ${name} is not allowed`);
  endOfParameters(identifier, true, 'digest algorithm');
  return hash;
}

/**
 * Reads a signature AlgorithmIdentifier that goes with `digest`. Errors: `der.malformed`, also for an algorithm that is
 * not allowed or that uses another hash.
 */
export function readSignatureAlgorithm(reader: DerReader, digest: Hash): SignatureFamily {
  const identifier = reader.sequence('signature algorithm');
  const name = identifier.oid('signature algorithm');
  const found = SIGNATURE_BY_OID[name];
  if (found === undefined) throw new CroupierError('der.malformed', `signature algorithm ${name} is not allowed`);
  if (found.hash !== undefined && found.hash !== digest) {
    throw new CroupierError('der.malformed', `signature algorithm ${name} does not go with digest ${digest}`);
  }
  endOfParameters(identifier, found.family === 'rsa', 'signature algorithm');
  return found.family;
}

/** Whether this key may verify signatures of this family: ECDSA on P-256 or P-384, RSA of 2048 to 8192 bits. */
export function isAllowedKey(key: KeyObject, family: SignatureFamily): boolean {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  return family === 'ecdsa'
    ? key.asymmetricKeyType === 'ec' && (namedCurve === 'prime256v1' || namedCurve === 'secp384r1')
    : key.asymmetricKeyType === 'rsa' && modulusLength >= 2048 && modulusLength <= 8192;
}
