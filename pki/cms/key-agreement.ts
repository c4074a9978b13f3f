/** Key agreement of the envelope profile (RFC 5753, 3.1 and 7.2), the part that both sides compute. */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { contextConstructed, octetString, oid, sequence } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';

/** The default initial value of AES key wrap (RFC 3394, 2.2.3.1). */
export const KEY_WRAP_IV = Buffer.alloc(8, 0xa6);

const AES256_WRAP = sequence(oid(OID.aes256Wrap));

/** keyEncryptionAlgorithm: dhSinglePass-stdDH-sha256kdf with id-aes256-wrap. */
export const KEY_AGREEMENT = sequence(oid(OID.dhSinglePassStdDhSha256Kdf), AES256_WRAP);

const SUPP_PUB_INFO = contextConstructed(2, octetString(Buffer.of(0, 0, 1, 0)));
const WITHOUT_UKM = sequence(AES256_WRAP, SUPP_PUB_INFO);

/** ECC-CMS-SharedInfo: keyInfo, entityUInfo if there is user keying material, and the KEK's length of 256 bits. */
export function sharedInfo(userKeyingMaterial?: Uint8Array): Uint8Array {
  return userKeyingMaterial === undefined
    ? WITHOUT_UKM
    : sequence(AES256_WRAP, contextConstructed(0, octetString(userKeyingMaterial)), SUPP_PUB_INFO);
}

const KDF_COUNTER = Buffer.of(0, 0, 0, 1);

/** X9.63 KDF (SEC 1, 3.6.1) with SHA-256 for the one block that a 256-bit KEK needs. Wipes `secret`. */
export function deriveKek(secret: Buffer, info: Uint8Array): Buffer {
  const input = Buffer.concat([secret, KDF_COUNTER, info]);
  const kek = hash('sha256', input, 'buffer');
  secret.fill(0);
  input.fill(0);
  return kek;
}
