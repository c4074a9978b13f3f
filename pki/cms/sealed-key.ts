/** Reads the RecipientInfos of a key envelope and unseals its content encryption key; the counterpart of recipient.ts. */
import { Buffer } from 'node:buffer';
import {
  constants,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  privateDecrypt,
  type KeyObject,
} from 'node:crypto';
import { bitString, oid, sequence } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';
import { KEY_AGREEMENT, KEY_WRAP_IV, deriveKek, sharedInfo } from './key-agreement.ts';
import { readIdentifier, readIssuerAndSerialNumber, type CertificateIdentifier } from './sid.ts';

const MAXIMUM_RECIPIENTS = 32;

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', what);

/** A recipient of an envelope, and how its private key gives the content encryption key. */
export interface SealedKey {
  readonly rid: CertificateIdentifier;
  readonly keyType: 'ec' | 'rsa';
  unseal(privateKey: KeyObject): Buffer;
}

/**
 * The content encryption key from a KeyAgreeRecipientInfo. `point` is the originator's, `curve` the recipient's own.
 * Throws whatever node:crypto throws when the point is not on the curve or the wrapped key fails its check.
 */
function agreeAndUnwrap(
  privateKey: KeyObject,
  point: Uint8Array,
  userKeyingMaterial: Uint8Array | undefined,
  wrapped: Uint8Array,
): Buffer {
  const curve = privateKey.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? OID.p384 : OID.p256;
  const spki = sequence(sequence(oid(OID.ecPublicKey), oid(curve)), bitString(point));
  const publicKey = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  const kek = deriveKek(diffieHellman({ privateKey, publicKey }), sharedInfo(userKeyingMaterial));
  try {
    const decipher = createDecipheriv('aes256-wrap', kek, KEY_WRAP_IV);
    return Buffer.concat([decipher.update(wrapped), decipher.final()]);
  } finally {
    kek.fill(0);
  }
}

/** The content encryption key from a KeyTransRecipientInfo. Throws whatever node:crypto throws for a wrong padding. */
function decryptTransported(privateKey: KeyObject, encrypted: Uint8Array): Buffer {
  return privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, encrypted);
}

/** The key must be RSAES-OAEP with SHA-256 and MGF1 with SHA-256, no label (RFC 4055, 4.1). Errors: `der.malformed`. */
function readOaepSha256(identifier: Uint8Array): void {
  const refused = malformed('the key is not encrypted with RSAES-OAEP and SHA-256');
  const readSha256 = (reader: DerReader): void => {
    const hashIdentifier = reader.sequence('hash algorithm');
    if (hashIdentifier.oid('hash algorithm') !== OID.sha256) throw refused;
    hashIdentifier.optional(0x05);
    hashIdentifier.end('hash algorithm');
    reader.end('hash algorithm');
  };
  const reader = readSequence(identifier, 'key encryption algorithm');
  if (reader.oid('key encryption algorithm') !== OID.rsaesOaep) throw refused;
  const parameters = reader.sequence('RSAES-OAEP parameters');
  reader.end('key encryption algorithm');
  readSha256(new DerReader(parameters.expect(0xa0, 'OAEP hash').content));
  const mask = readSequence(parameters.expect(0xa1, 'OAEP mask generation').content, 'mask generation');
  if (mask.oid('mask generation') !== OID.mgf1) throw refused;
  readSha256(mask);
  parameters.end('RSAES-OAEP parameters');
}

/** KeyTransRecipientInfo (RFC 5652, 6.2.1), whose SEQUENCE is open. */
function readKeyTransport(reader: DerReader): SealedKey {
  const version = reader.integer('version');
  const rid = readIdentifier(reader);
  if (version !== (rid.kind === 'subjectKeyIdentifier' ? 2 : 0)) throw malformed(`recipient has version ${version}`);
  readOaepSha256(reader.expect(0x30, 'key encryption algorithm').whole);
  const encrypted = reader.octetString('encrypted key');
  reader.end('KeyTransRecipientInfo');
  return { rid, keyType: 'rsa', unseal: (privateKey) => decryptTransported(privateKey, encrypted) };
}

/** The originator's ephemeral point; the parameters of its key may be absent, NULL or the curve (RFC 5753, 3.1.1). */
function readOriginatorPoint(originator: Uint8Array): Uint8Array {
  const choice = new DerReader(originator);
  const key = new DerReader(choice.expect(0xa1, 'originator key').content);
  choice.end('originator');
  const algorithm = key.sequence('originator algorithm');
  if (algorithm.oid('originator algorithm') !== OID.ecPublicKey) throw malformed('the originator has no EC key');
  algorithm.optional(0x05);
  algorithm.optional(0x06);
  algorithm.end('originator algorithm');
  const point = key.bitString('originator point');
  key.end('originator key');
  if (point[0] !== 0x04) throw malformed('the point of the originator is not uncompressed');
  return point;
}

function readUserKeyingMaterial(explicit: Uint8Array): Uint8Array {
  const reader = new DerReader(explicit);
  const ukm = reader.octetString('user keying material');
  reader.end('user keying material');
  return ukm;
}

function readKeyAgreementRid(entry: DerReader): CertificateIdentifier {
  if (entry.peek() !== 0xa0) return readIssuerAndSerialNumber(entry.sequence('issuer and serial number'));
  const identifier = new DerReader(entry.next().content);
  const value = identifier.octetString('subject key identifier');
  identifier.end('recipient key identifier');
  return { kind: 'subjectKeyIdentifier', value };
}

/** KeyAgreeRecipientInfo (RFC 5652, 6.2.2; RFC 5753, 3.1.1), whose [1] is open. */
function readKeyAgreement(reader: DerReader): SealedKey[] {
  if (reader.integer('version') !== 3) throw malformed('the recipient has an unknown version');
  const point = readOriginatorPoint(reader.expect(0xa0, 'originator').content);
  const explicitUkm = reader.optional(0xa1);
  const ukm = explicitUkm === undefined ? undefined : readUserKeyingMaterial(explicitUkm.content);
  const algorithm = reader.expect(0x30, 'key encryption algorithm').whole;
  if (Buffer.compare(algorithm, KEY_AGREEMENT) !== 0) {
    throw malformed('the key is not agreed by dhSinglePass-stdDH-sha256kdf with AES-256 key wrap');
  }
  const entries = reader.sequence('recipient encrypted keys');
  reader.end('KeyAgreeRecipientInfo');
  const sealedKeys: SealedKey[] = [];
  while (!entries.done) {
    const entry = entries.sequence('recipient encrypted key');
    const rid = readKeyAgreementRid(entry);
    const wrapped = entry.octetString('encrypted key');
    entry.end('recipient encrypted key');
    sealedKeys.push({ rid, keyType: 'ec', unseal: (privateKey) => agreeAndUnwrap(privateKey, point, ukm, wrapped) });
  }
  return sealedKeys;
}

/** Reads the members of recipientInfos. Errors: `der.malformed`, also for algorithms outside the profile. */
export function readRecipients(infos: DerReader): SealedKey[] {
  const sealedKeys: SealedKey[] = [];
  while (!infos.done) {
    const { tag, content } = infos.next();
    if (tag === 0x30) sealedKeys.push(readKeyTransport(new DerReader(content)));
    else if (tag === 0xa1) sealedKeys.push(...readKeyAgreement(new DerReader(content)));
    else throw malformed('the envelope has a recipient of an unknown kind');
    if (sealedKeys.length > MAXIMUM_RECIPIENTS) throw malformed('the envelope has too many recipients');
  }
  return sealedKeys;
}
