import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  MAXIMUM_ENVELOPE,
  MAXIMUM_ENVELOPE_CONTENT,
  openEnvelope,
  prepareRecipient,
  sealEnvelope,
  sealFor,
} from '#pki/cms/envelope.ts';
import { OID } from '#pki/der/oid.ts';
import { oid } from '#pki/der/writer.ts';
import { DEVICE, OpensslPki, flipped, offsetOf, refusalCode, seeded, type Issued } from './openssl-pki.ts';

const SECRET = Buffer.from('0123456789abcdef0123456789abcdef');
const coded = (code: string): unknown => expect.objectContaining({ code });

let pki: OpensslPki;
let recipients: Readonly<Record<string, Issued>>;
let p256: Issued;
let rsa: Issued;

beforeAll(() => {
  pki = new OpensslPki();
  p256 = pki.issue('p256', { extensions: DEVICE });
  rsa = pki.issue('rsa', { key: 'RSA-2048', extensions: DEVICE });
  const withoutKeyIdentifier = ['subjectKeyIdentifier=none', 'keyUsage=keyAgreement,keyEncipherment'];
  recipients = {
    'P-256': p256,
    'P-384': pki.issue('p384', { key: 'EC-P384', extensions: DEVICE }),
    RSA: rsa,
    'P-256 without key identifier': pki.issue('bare', { extensions: withoutKeyIdentifier }),
    'RSA without key identifier': pki.issue('bare-rsa', { key: 'RSA-2048', extensions: withoutKeyIdentifier }),
  };
});
afterAll(() => pki[Symbol.dispose]());

const recipient = (kind: string): Issued => {
  const issued = recipients[kind];
  if (issued === undefined) throw new Error(kind);
  return issued;
};
const opening = (envelope: Uint8Array, by: Pick<Issued, 'privateKey' | 'certificate'>) => () =>
  openEnvelope(envelope, by);
const replaced = (der: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array => {
  expect(from).toHaveLength(to.length);
  const copy = Buffer.from(der);
  copy.set(to, offsetOf(der, from));
  return copy;
};

const KINDS = ['P-256', 'P-384', 'RSA', 'P-256 without key identifier', 'RSA without key identifier'];

describe.each(KINDS)('an envelope for %s', (kind) => {
  test('gives its content back to the recipient', () => {
    const envelope = sealEnvelope(SECRET, recipient(kind).certificate);
    expect(Buffer.from(envelope).includes(SECRET)).toBe(false);
    expect(Buffer.from(openEnvelope(envelope, recipient(kind)))).toEqual(SECRET);
  });

  test('may be sealed many times for one prepared recipient, never the same way', () => {
    const prepared = prepareRecipient(recipient(kind).certificate);
    const [first, second] = [sealFor(prepared, SECRET), sealFor(prepared, SECRET)];
    expect(Buffer.from(first).equals(second)).toBe(false);
    for (const envelope of [first, second]) {
      expect(Buffer.from(openEnvelope(envelope, recipient(kind)))).toEqual(SECRET);
    }
  });

  test('is not opened by another of the same kind', () => {
    const envelope = sealEnvelope(SECRET, recipient(kind).certificate);
    for (const other of KINDS.filter((name) => name !== kind)) {
      expect(opening(envelope, recipient(other))).toThrow(coded('envelope.wrong-recipient'));
    }
  });

  test('is not opened with a private key that is not the key of the certificate', () => {
    const { certificate } = recipient(kind);
    const envelope = sealEnvelope(SECRET, certificate);
    const { privateKey } = pki.issue('other', { key: recipient(kind).algorithm });
    expect(opening(envelope, { certificate, privateKey })).toThrow(coded('envelope.wrong-recipient'));
  });

  test('fails when its tag, content or wrapped key is altered', () => {
    const envelope = sealEnvelope(SECRET, recipient(kind).certificate);
    const tag = envelope.length - 1;
    const content = envelope.length - 16 - 2 - 1;
    const wrappedKey = envelope.length - (16 + 2) - (SECRET.length + 2) - (9 + 2 + 30 + 2 + 2) - 1 - 2;
    for (const offset of [tag, content, wrappedKey]) {
      expect(opening(flipped(envelope, offset), recipient(kind)), `${offset}`).toThrow(
        coded('envelope.integrity-failed'),
      );
    }
  });

  test('is refused at every truncation, and with anything behind its end', () => {
    const envelope = sealEnvelope(SECRET, recipient(kind).certificate);
    for (let length = 0; length < envelope.length; length += 1) {
      expect(opening(envelope.subarray(0, length), recipient(kind))).toThrow(coded('envelope.malformed'));
    }
    expect(opening(Buffer.concat([envelope, Buffer.of(0)]), recipient(kind))).toThrow(coded('envelope.malformed'));
  });

  test('is refused when any one octet is changed at random', () => {
    const envelope = sealEnvelope(SECRET, recipient(kind).certificate);
    const below = seeded(5083);
    for (let round = 0; round < 300; round += 1) {
      const altered = Uint8Array.from(envelope);
      const offset = below(altered.length);
      altered[offset] = (altered[offset] ?? 0) ^ (1 + below(255));
      expect(refusalCode(opening(altered, recipient(kind))), `offset ${offset}`).toMatch(
        /^envelope\.(malformed|wrong-recipient|integrity-failed)$/,
      );
    }
  });
});

test('every single changed bit of an envelope is refused', () => {
  const envelope = sealEnvelope(SECRET, p256.certificate);
  for (let offset = 0; offset < envelope.length; offset += 1) {
    for (const bit of [0, 1, 2, 3, 4, 5, 6, 7]) {
      expect(refusalCode(opening(flipped(envelope, offset, bit), p256)), `offset ${offset}, bit ${bit}`).toMatch(
        /^envelope\.(malformed|wrong-recipient|integrity-failed)$/,
      );
    }
  }
});

test('the ephemeral point must be uncompressed', () => {
  const envelope = sealEnvelope(SECRET, p256.certificate);
  const point = offsetOf(envelope, Buffer.from('03420004', 'hex')) + 3;
  expect(opening(envelope, p256)).not.toThrow();
  for (const form of [0x06, 0x07]) {
    const hybrid = Uint8Array.from(envelope);
    hybrid[point] = form;
    expect(opening(hybrid, p256)).toThrow(coded('envelope.malformed'));
  }
});

test('an envelope may be empty, and has an upper size', () => {
  const prepared = prepareRecipient(p256.certificate);
  for (const length of [0, 1, MAXIMUM_ENVELOPE_CONTENT]) {
    expect(openEnvelope(sealFor(prepared, Buffer.alloc(length, 7)), p256)).toHaveLength(length);
  }
  expect(() => sealFor(prepared, Buffer.alloc(MAXIMUM_ENVELOPE_CONTENT + 1))).toThrow(coded('input.too-large'));
  expect(opening(Buffer.alloc(MAXIMUM_ENVELOPE + 1), p256)).toThrow(coded('input.too-large'));
  expect(opening(Buffer.alloc(MAXIMUM_ENVELOPE), p256)).toThrow(coded('envelope.malformed'));
});

describe('an envelope of another profile is refused:', () => {
  test.each([
    ['another content type', OID.data, OID.signedData],
    ['AES-128-GCM', OID.aes256Gcm, '2.16.840.1.101.3.4.1.6'],
    ['AES-128 key wrap', OID.aes256Wrap, '2.16.840.1.101.3.4.1.5'],
    ['the cofactor Diffie-Hellman scheme', OID.dhSinglePassStdDhSha256Kdf, '1.3.132.1.14.1'],
  ])('%s', (_, from, to) => {
    const envelope = sealEnvelope(SECRET, p256.certificate);
    expect(opening(envelope, p256)).not.toThrow();
    expect(opening(replaced(envelope, oid(from), oid(to)), p256)).toThrow(coded('envelope.malformed'));
  });

  test('RSA with PKCS#1 v1.5 or OAEP with SHA-1, EC with the SHA-1 KDF, CBC, as openssl makes them', () => {
    pki.file('secret', SECRET);
    const made = (who: Issued, cipher: string, ...options: readonly string[]): Buffer =>
      pki.openssl(
        'cms',
        '-encrypt',
        '-binary',
        cipher,
        '-in',
        'secret',
        '-outform',
        'DER',
        '-recip',
        who.certificateFile,
        ...options,
      );
    const sha256Kdf = ['-keyopt', 'ecdh_kdf_md:sha256'];
    const oaep = ['-keyopt', 'rsa_padding_mode:oaep'];
    const gcm = '-aes-256-gcm';
    expect(Buffer.from(openEnvelope(made(p256, gcm, ...sha256Kdf), p256))).toEqual(SECRET);
    expect(Buffer.from(openEnvelope(made(rsa, gcm, ...oaep, '-keyopt', 'rsa_oaep_md:sha256'), rsa))).toEqual(SECRET);
    for (const [who, envelope] of [
      [p256, made(p256, gcm)],
      [p256, made(p256, '-aes-256-cbc', ...sha256Kdf)],
      [p256, made(p256, '-aes-128-gcm', ...sha256Kdf)],
      [rsa, made(rsa, gcm)],
      [rsa, made(rsa, gcm, ...oaep)],
    ] as const) {
      expect(opening(envelope, who)).toThrow(coded('envelope.malformed'));
    }
  });
});

test('nothing is sealed for a key or certificate that cannot take it', () => {
  pki.openssl('genpkey', '-algorithm', 'Ed25519', '-out', 'ed25519.key');
  pki.openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', 'weak.key');
  for (const keyFile of ['ed25519.key', 'weak.key']) {
    const { certificate } = pki.issue('unfit', { keyOf: { ...p256, keyFile } });
    expect(() => prepareRecipient(certificate)).toThrow(coded('certificate.purpose-refused'));
  }
  expect(() => prepareRecipient(SECRET)).toThrow(coded('certificate.malformed'));
  expect(() => prepareRecipient(p256.certificate)).not.toThrow();
});
