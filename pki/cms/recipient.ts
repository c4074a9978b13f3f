/**
 * Recipients of key envelopes: how a content encryption key is brought to one certificate's key.
 * EC: ephemeral-static ECDH, X9.63 KDF with SHA-256, AES-256 key wrap (RFC 5753). RSA: OAEP with SHA-256 (RFC 4055).
 */
import { Buffer } from 'node:buffer';
import {
  X509Certificate,
  constants,
  createCipheriv,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  type KeyObject,
} from 'node:crypto';
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
} from '#pki/der/writer.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
import { KEY_AGREEMENT, KEY_WRAP_IV, deriveKek, sharedInfo } from './key-agreement.ts';
import { issuerAndSerialNumber } from './sid.ts';

/** A certificate made ready to seal many envelopes for. */
export interface Recipient {
  /** The RecipientInfo, DER, that carries this content encryption key to the recipient. */
  recipientInfo(contentEncryptionKey: Uint8Array): Uint8Array;
}

type Curve = 'prime256v1' | 'secp384r1';

const EC_PUBLIC_KEY = sequence(oid(OID.ecPublicKey));
const SHA256 = sequence(oid(OID.sha256), nullValue());
const RSAES_OAEP = sequence(
  oid(OID.rsaesOaep),
  sequence(contextConstructed(0, SHA256), contextConstructed(1, sequence(oid(OID.mgf1), SHA256))),
);

function agreementRecipient(curve: Curve, publicKey: KeyObject, rid: Uint8Array): Recipient {
  return {
    recipientInfo(contentEncryptionKey) {
      const ephemeral = generateKeyPairSync('ec', { namedCurve: curve });
      const point = ephemeral.publicKey.export({ format: 'raw-public' });
      const kek = deriveKek(diffieHellman({ privateKey: ephemeral.privateKey, publicKey }), sharedInfo());
      const cipher = createCipheriv('aes256-wrap', kek, KEY_WRAP_IV);
      const wrapped = Buffer.concat([cipher.update(contentEncryptionKey), cipher.final()]);
      kek.fill(0);
      return contextConstructed(
        1,
        integer(3),
        contextConstructed(0, contextConstructed(1, EC_PUBLIC_KEY, bitString(point))),
        KEY_AGREEMENT,
        sequence(sequence(rid, octetString(wrapped))),
      );
    },
  };
}

function transportRecipient(publicKey: KeyObject, version: 0 | 2, rid: Uint8Array): Recipient {
  return {
    recipientInfo(contentEncryptionKey) {
      const encrypted = publicEncrypt(
        { key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
        contentEncryptionKey,
      );
      return sequence(integer(version), rid, RSAES_OAEP, octetString(encrypted));
    },
  };
}

/** The public key of a certificate, DER. Errors: `certificate.malformed`. */
function publicKeyOf(certificate: Uint8Array): KeyObject {
  try {
    return new X509Certificate(certificate).publicKey;
  } catch (error) {
    throw new CroupierError('certificate.malformed', 'the certificate or its key cannot be parsed', { cause: error });
  }
}

/**
 * Prepares to seal for the key of a certificate, DER: EC P-256 or P-384, or RSA of 2048 to 8192 bits. The recipient is
 * named by subjectKeyIdentifier, or by issuer and serial number if the certificate has none. Nothing about the
 * certificate is verified. Errors: `certificate.malformed`; `certificate.purpose-refused` for any other kind of key.
 */
export function prepareRecipient(certificate: Uint8Array): Recipient {
  const fields = parseCertificate(certificate);
  const { subjectKeyIdentifier } = fields;
  const publicKey = publicKeyOf(certificate);
  const { namedCurve, modulusLength = 0 } = publicKey.asymmetricKeyDetails ?? {};
  if (publicKey.asymmetricKeyType === 'ec' && (namedCurve === 'prime256v1' || namedCurve === 'secp384r1')) {
    const rid =
      subjectKeyIdentifier === undefined
        ? issuerAndSerialNumber(fields)
        : contextConstructed(0, octetString(subjectKeyIdentifier));
    return agreementRecipient(namedCurve, publicKey, rid);
  }
  if (publicKey.asymmetricKeyType === 'rsa' && modulusLength >= 2048 && modulusLength <= 8192) {
    return subjectKeyIdentifier === undefined
      ? transportRecipient(publicKey, 0, issuerAndSerialNumber(fields))
      : transportRecipient(publicKey, 2, contextPrimitive(0, subjectKeyIdentifier));
  }
  throw new CroupierError('certificate.purpose-refused', 'nothing can be sealed for a key of this type or size');
}
