/**
 * CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084): 12-byte IV, 16-byte tag, content of type id-data and no
 * authenticated attributes, which is what released versions of OpenSSL open.
 */
import { Buffer } from 'node:buffer';
import { X509Certificate, createCipheriv, createDecipheriv, randomFillSync, type KeyObject } from 'node:crypto';
import { contextConstructed, contextPrimitive, integer, octetString, oid, sequence, tlv } from '#pki/der/writer.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { readSequence, type DerReader } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';
import { prepareRecipient, type Recipient } from './recipient.ts';
import { readRecipients, type SealedKey } from './sealed-key.ts';
import { identifies } from './sid.ts';

export { prepareRecipient, type Recipient } from './recipient.ts';

/** Largest envelope read and largest content sealed, in bytes; working keys are far smaller. */
export const MAXIMUM_ENVELOPE = 64 * 1024;
export const MAXIMUM_ENVELOPE_CONTENT = 32 * 1024;

const IV_LENGTH = 12;
const TAG_LENGTH = 16;
const VERSION_0 = integer(0);
const DATA = oid(OID.data);
const AES_256_GCM = oid(OID.aes256Gcm);
const ICV_LENGTH = integer(TAG_LENGTH);
const AUTH_ENVELOPED_DATA = oid(OID.authEnvelopedData);

/**
 * Seals `plaintext` for a prepared recipient: a ContentInfo with AuthEnvelopedData, DER, that `openssl cms -decrypt`
 * opens. A fresh content encryption key and, for EC, a fresh ephemeral key each time; all secrets but `plaintext` are
 * wiped, the caller wipes that. Authenticates nobody: sign what holds the envelope. Errors: `input.too-large`.
 */
export function sealFor(recipient: Recipient, plaintext: Uint8Array): Uint8Array {
  if (plaintext.length > MAXIMUM_ENVELOPE_CONTENT) {
    throw new CroupierError('input.too-large', `an envelope holds at most ${MAXIMUM_ENVELOPE_CONTENT} bytes`);
  }
  const secrets = randomFillSync(Buffer.allocUnsafeSlow(32 + IV_LENGTH));
  const key = secrets.subarray(0, 32);
  const iv = secrets.subarray(32);
  try {
    const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_LENGTH });
    const encrypted = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    return sequence(
      AUTH_ENVELOPED_DATA,
      contextConstructed(
        0,
        sequence(
          VERSION_0,
          tlv(0x31, recipient.recipientInfo(key)),
          sequence(DATA, sequence(AES_256_GCM, sequence(octetString(iv), ICV_LENGTH)), contextPrimitive(0, encrypted)),
          octetString(cipher.getAuthTag()),
        ),
      ),
    );
  } finally {
    secrets.fill(0);
  }
}

/** `sealFor` of `prepareRecipient`: seals once for the key of a certificate, DER. Errors: those of both. */
export function sealEnvelope(plaintext: Uint8Array, recipientCertificate: Uint8Array): Uint8Array {
  return sealFor(prepareRecipient(recipientCertificate), plaintext);
}

interface ParsedEnvelope {
  readonly sealedKeys: readonly SealedKey[];
  readonly iv: Uint8Array;
  readonly encrypted: Uint8Array;
  readonly tag: Uint8Array;
}

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', what);

function readEncryptedContent(info: DerReader): { iv: Uint8Array; encrypted: Uint8Array } {
  if (info.oid('content type') !== OID.data) throw malformed('the sealed content is not id-data');
  const algorithm = info.sequence('content encryption algorithm');
  if (algorithm.oid('content encryption algorithm') !== OID.aes256Gcm) throw malformed('the cipher is not AES-256-GCM');
  const parameters = algorithm.sequence('GCM parameters');
  algorithm.end('content encryption algorithm');
  const iv = parameters.octetString('nonce');
  // The DEFAULT of 12 (RFC 5084, 3.2) is a shorter tag than this profile allows.
  const icvLength = parameters.done ? 12 : parameters.integer('tag length');
  parameters.end('GCM parameters');
  if (iv.length !== IV_LENGTH || icvLength !== TAG_LENGTH) throw malformed('nonce or tag have another length');
  const encrypted = info.expect(0x80, 'encrypted content').content;
  info.end('encrypted content info');
  return { iv, encrypted };
}

function readEnvelope(der: Uint8Array): ParsedEnvelope {
  const contentInfo = readSequence(der, 'ContentInfo');
  if (contentInfo.oid('content type') !== OID.authEnvelopedData) throw malformed('it is not AuthEnvelopedData');
  const envelope = readSequence(contentInfo.expect(0xa0, 'content').content, 'AuthEnvelopedData');
  contentInfo.end('ContentInfo');
  if (envelope.integer('version') !== 0) throw malformed('it has an unknown version');
  const sealedKeys = readRecipients(envelope.set('recipientInfos'));
  const { iv, encrypted } = readEncryptedContent(envelope.sequence('encrypted content info'));
  const tag = envelope.octetString('tag');
  envelope.end('AuthEnvelopedData');
  if (tag.length !== TAG_LENGTH) throw malformed('the tag has another length');
  return { sealedKeys, iv, encrypted, tag };
}

function parseEnvelope(der: Uint8Array): ParsedEnvelope {
  if (der.length > MAXIMUM_ENVELOPE) {
    throw new CroupierError(
      'input.too-large',
      `the envelope has ${der.length} bytes; at most ${MAXIMUM_ENVELOPE} are read`,
    );
  }
  try {
    return readEnvelope(der);
  } catch (error) {
    if (!(error instanceof CroupierError) || error.code !== 'der.malformed') throw error;
    throw new CroupierError('envelope.malformed', `malformed envelope: ${error.message}`, { cause: error });
  }
}

export interface EnvelopeRecipient {
  readonly privateKey: KeyObject;
  /** The certificate of that key, DER; envelopes name their recipient by it. */
  readonly certificate: Uint8Array;
}

/** A sealed key that does not unseal was altered, unless the private key is not the certificate's at all. */
function unsealFailure({ privateKey, certificate }: EnvelopeRecipient, cause: unknown): CroupierError {
  return new X509Certificate(certificate).checkPrivateKey(privateKey)
    ? new CroupierError('envelope.integrity-failed', 'the key inside the envelope was altered', { cause })
    : new CroupierError('envelope.wrong-recipient', 'the private key is not the key of the certificate', { cause });
}

function decrypt(key: Uint8Array, { iv, encrypted, tag }: ParsedEnvelope): Uint8Array {
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_LENGTH }).setAuthTag(tag);
  const unproven = decipher.update(encrypted);
  try {
    // GCM holds no octets back, so that final() only proves the tag.
    decipher.final();
    return unproven;
  } catch (error) {
    unproven.fill(0);
    throw new CroupierError('envelope.integrity-failed', 'the envelope fails its authentication tag', { cause: error });
  }
}

/**
 * Opens a ContentInfo with AuthEnvelopedData, DER, as `sealFor` or `openssl cms -encrypt -aes-256-gcm` makes it (EC with
 * `-keyopt ecdh_kdf_md:sha256`, RSA with OAEP and SHA-256). On return the content is what was sealed for this key; who
 * sealed it is not known, so verify the signature of the message around it first. The caller wipes the result.
 * Errors: `input.too-large`, `envelope.malformed` (also for other algorithms), `envelope.wrong-recipient`,
 * `envelope.integrity-failed`, `certificate.malformed`.
 */
export function openEnvelope(der: Uint8Array, recipient: EnvelopeRecipient): Uint8Array {
  const envelope = parseEnvelope(der);
  const certificate = parseCertificate(recipient.certificate);
  const sealedKey = envelope.sealedKeys.find(
    ({ rid, keyType }) => keyType === recipient.privateKey.asymmetricKeyType && identifies(rid, certificate),
  );
  if (sealedKey === undefined) {
    throw new CroupierError('envelope.wrong-recipient', 'the envelope is sealed for another certificate');
  }
  let key: Buffer | undefined;
  try {
    key = sealedKey.unseal(recipient.privateKey);
  } catch (error) {
    throw unsealFailure(recipient, error);
  }
  try {
    if (key.length !== 32)
      throw new CroupierError('envelope.integrity-failed', 'the key inside the envelope is no AES-256 key');
    return decrypt(key, envelope);
  } finally {
    key.fill(0);
  }
}
