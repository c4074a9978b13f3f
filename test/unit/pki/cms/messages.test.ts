import { createPublicKey, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cosignMessage, signMessage } from '#pki/cms/sign.ts';
import { parseSignedData, prepareSignerCertificate, verifySignature, verifySignedBy } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import { contextConstructed, octetString, oid, sequence, setOf } from '#pki/der/writer.ts';
import {
  OpensslPki,
  SIGNER,
  flipped,
  messageSigner,
  offsetOf,
  refusalCode,
  seeded,
  type Issued,
} from './openssl-pki.ts';

const CONTENT = Buffer.from('{"v":1,"type":"report"}');
const LIMITS = { maxBytes: 16_384 };
const SIGNING_TIME = new Date('2026-11-21T10:00:00Z');

let pki: OpensslPki;
let p256: Issued;
let p384: Issued;
let rsa: Issued;
let withoutKeyIdentifier: Issued;
let twin: Issued;

beforeAll(() => {
  pki = new OpensslPki();
  p256 = pki.issue('p256', { extensions: SIGNER });
  p384 = pki.issue('p384', { key: 'EC-P384', extensions: SIGNER });
  rsa = pki.issue('rsa', { key: 'RSA-2048', extensions: SIGNER });
  withoutKeyIdentifier = pki.issue('bare', { extensions: ['subjectKeyIdentifier=none', 'keyUsage=digitalSignature'] });
  // Another key under the same name and key identifier.
  const ski = Buffer.from(prepareSignerCertificate(p256.certificate).names.subjectKeyIdentifier ?? []).toString('hex');
  twin = pki.issue('p256', { extensions: [`subjectKeyIdentifier=${ski}`, 'keyUsage=digitalSignature'] });
});
afterAll(() => pki[Symbol.dispose]());

describe('a signed message', () => {
  test.each(['EC-P256', 'EC-P384', 'RSA-2048'] as const)(
    'of a %s key yields its content to who holds the certificate',
    async (key) => {
      const issued = { 'EC-P256': p256, 'EC-P384': p384, 'RSA-2048': rsa }[key];
      const message = await signMessage(CONTENT, messageSigner(issued), { signingTime: SIGNING_TIME });
      expect(Buffer.from(verifySignedBy(message, issued.certificate, LIMITS))).toEqual(CONTENT);
      const prepared = prepareSignerCertificate(issued.certificate);
      expect(Buffer.from(verifySignedBy(message, prepared, LIMITS))).toEqual(CONTENT);
    },
  );

  test('names its signer by key identifier, and by issuer and serial number where there is none', async () => {
    const byKey = parseSignedData(await signMessage(CONTENT, messageSigner(p256)), LIMITS);
    expect(byKey.signers[0]?.sid.kind).toBe('subjectKeyIdentifier');
    const message = await signMessage(CONTENT, messageSigner(withoutKeyIdentifier));
    expect(parseSignedData(message, LIMITS).signers[0]?.sid.kind).toBe('issuerAndSerialNumber');
    expect(Buffer.from(verifySignedBy(message, withoutKeyIdentifier.certificate, LIMITS))).toEqual(CONTENT);
  });

  test('carries the signing time only when told', async () => {
    const timed = await signMessage(CONTENT, messageSigner(p256), { signingTime: SIGNING_TIME });
    expect(parseSignedData(timed, LIMITS).signers[0]?.signingTime).toEqual(SIGNING_TIME);
    const timeless = await signMessage(CONTENT, messageSigner(p256));
    expect(parseSignedData(timeless, LIMITS).signers[0]?.signingTime).toBeUndefined();
  });

  test('carries certificate and chain, or nothing when told', async () => {
    const by = messageSigner(p256, p384, rsa);
    const full = parseSignedData(await signMessage(CONTENT, by), LIMITS);
    const embedded = full.certificates.map((der) => Buffer.from(der).toString('hex')).sort();
    expect(embedded).toEqual([p256, p384, rsa].map((one) => Buffer.from(one.certificate).toString('hex')).sort());
    expect(full.signers[0]?.certificate).toEqual(p256.certificate);
    const bare = await signMessage(CONTENT, by, { embed: 'none' });
    expect(parseSignedData(bare, LIMITS).certificates).toEqual([]);
    expect(Buffer.from(verifySignedBy(bare, p256.certificate, LIMITS))).toEqual(CONTENT);
  });

  test('may be empty', async () => {
    const message = await signMessage(new Uint8Array(), messageSigner(p256));
    expect(verifySignedBy(message, p256.certificate, LIMITS)).toHaveLength(0);
  });

  test('of several signers verifies for each of them', async () => {
    const message = await cosignMessage(
      CONTENT,
      [p256, p384, rsa].map((one) => messageSigner(one)),
    );
    const parsed = parseSignedData(message, LIMITS);
    expect(parsed.signers).toHaveLength(3);
    for (const [index, { certificate }] of parsed.signers.entries()) {
      verifySignature(parsed, index, prepareSignerCertificate(certificate ?? new Uint8Array()).publicKey);
    }
  });
});

describe('making a message refuses', () => {
  test('a certificate of another key', async () => {
    const by = { ...messageSigner(p256), certificate: twin.certificate };
    await expect(cosignMessage(CONTENT, [by])).rejects.toMatchObject({ code: 'input.invalid' });
  });
  test('a certificate that is none', async () => {
    const by = { ...messageSigner(p256), certificate: CONTENT };
    await expect(cosignMessage(CONTENT, [by])).rejects.toMatchObject({ code: 'certificate.malformed' });
  });
  test('a key type outside the profile', async () => {
    const by = messageSigner(p256);
    const ed25519 = { ...by, signer: { ...by.signer, algorithm: 'Ed25519' as const } };
    await expect(cosignMessage(CONTENT, [ed25519])).rejects.toMatchObject({ code: 'input.invalid' });
  });
  test('no signer', async () => {
    await expect(cosignMessage(CONTENT, [])).rejects.toMatchObject({ code: 'input.invalid' });
  });
});

describe('verification by a known certificate refuses', () => {
  let message: Uint8Array;
  beforeAll(async () => {
    message = await signMessage(CONTENT, messageSigner(p256), { signingTime: SIGNING_TIME, embed: 'none' });
  });
  const verifying = (der: Uint8Array) => () => verifySignedBy(der, p256.certificate, LIMITS);
  const invalid = expect.objectContaining({ code: 'message.signature-invalid' });
  const malformed = expect.objectContaining({ code: 'message.malformed' });

  test('nothing of the unaltered message', () => {
    expect(verifying(message)).not.toThrow();
  });
  test('altered content', () => {
    expect(verifying(flipped(message, offsetOf(message, CONTENT) + 3))).toThrow(invalid);
  });
  test('the signature of another message', async () => {
    const byRsa = (content: Uint8Array) => signMessage(content, messageSigner(rsa), { embed: 'none' });
    const mine = await byRsa(CONTENT);
    const other = await byRsa(CONTENT.map((octet) => octet ^ 1));
    const spliced = Buffer.concat([other.subarray(0, -256), mine.subarray(-256)]);
    expect(() => verifySignedBy(other, rsa.certificate, LIMITS)).not.toThrow();
    expect(() => verifySignedBy(spliced, rsa.certificate, LIMITS)).toThrow(invalid);
  });
  test('an altered attribute', () => {
    expect(verifying(flipped(message, offsetOf(message, Buffer.from('261121100000Z')) + 5))).toThrow(invalid);
  });
  test('an altered signature', () => {
    expect(verifying(flipped(message, message.length - 1))).toThrow(invalid);
  });
  test('another signer', async () => {
    const other = await signMessage(CONTENT, messageSigner(rsa), { embed: 'none' });
    expect(() => verifySignedBy(other, rsa.certificate, LIMITS)).not.toThrow();
    expect(verifying(other)).toThrow(invalid);
  });
  test('another key under the same name and key identifier', async () => {
    for (const embed of ['none', 'chain'] as const) {
      const other = await signMessage(CONTENT, messageSigner(twin), { embed });
      expect(() => verifySignedBy(other, twin.certificate, LIMITS)).not.toThrow();
      expect(verifying(other)).toThrow(invalid);
    }
  });
  test('a second signer', async () => {
    expect(verifying(await cosignMessage(CONTENT, [messageSigner(p256)]))).not.toThrow();
    expect(verifying(await cosignMessage(CONTENT, [messageSigner(p256), messageSigner(rsa)]))).toThrow(malformed);
  });
  test('a message beyond the limit', () => {
    const atMost = (maxBytes: number) => () => verifySignedBy(message, p256.certificate, { maxBytes });
    expect(atMost(message.length)).not.toThrow();
    expect(atMost(message.length - 1)).toThrow(expect.objectContaining({ code: 'input.too-large' }));
  });
  test('every truncation, and anything behind the end', () => {
    for (let length = 0; length < message.length; length += 1) {
      expect(verifying(message.subarray(0, length))).toThrow(malformed);
    }
    expect(verifying(Buffer.concat([message, Buffer.of(0)]))).toThrow(malformed);
  });
  test('every single changed bit of a message without certificates', () => {
    for (let offset = 0; offset < message.length; offset += 1) {
      for (const bit of [0, 1, 2, 3, 4, 5, 6, 7]) {
        const code = refusalCode(verifying(flipped(message, offset, bit)));
        expect(['message.malformed', 'message.signature-invalid'], `offset ${offset}, bit ${bit}`).toContain(code);
      }
    }
  });
  test('random changes of one octet, for every kind of key', async () => {
    const below = seeded(5652);
    for (const issued of [p256, p384, rsa]) {
      const genuine = await signMessage(CONTENT, messageSigner(issued), { embed: 'none' });
      const known = prepareSignerCertificate(issued.certificate);
      for (let round = 0; round < 400; round += 1) {
        const altered = Uint8Array.from(genuine);
        const offset = below(altered.length);
        altered[offset] = (altered[offset] ?? 0) ^ (1 + below(255));
        const code = refusalCode(() => verifySignedBy(altered, known, LIMITS));
        expect(['message.malformed', 'message.signature-invalid'], `offset ${offset}`).toContain(code);
      }
    }
  });
});

describe('a message of the wrong shape is refused:', () => {
  const malformed = expect.objectContaining({ code: 'message.malformed' });
  const parsing = (der: Uint8Array) => () => parseSignedData(der, LIMITS);
  const replaced = (der: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array => {
    expect(from).toHaveLength(to.length);
    const copy = Buffer.from(der);
    copy.set(to, offsetOf(der, from));
    return copy;
  };

  test('content that is not id-data', async () => {
    const message = await signMessage(CONTENT, messageSigner(p256), { embed: 'none' });
    const { publicKey } = prepareSignerCertificate(p256.certificate);
    expect(() => verifySignature(parseSignedData(message, LIMITS), 0, publicKey)).not.toThrow();
    const parsed = { ...parseSignedData(message, LIMITS), contentType: OID.signedData };
    expect(() => verifySignature(parsed, 0, publicKey)).toThrow(malformed);
  });

  test('a genuine signature over an attribute that says other content', async () => {
    const message = Buffer.from(await signMessage(CONTENT, messageSigner(rsa), { embed: 'none' }));
    const resigned = (der: Buffer): Buffer => {
      const attributes = parseSignedData(der, LIMITS).signers[0]?.signedAttributes ?? Buffer.of();
      return Buffer.concat([der.subarray(0, -256), sign('sha256', attributes, rsa.privateKey)]);
    };
    expect(resigned(message)).toEqual(message);
    const data = Buffer.from(oid(OID.data));
    const other = Buffer.from(message);
    other.set(oid(OID.signedData), message.indexOf(data, message.indexOf(data) + 1));
    expect(() => verifySignedBy(resigned(other), rsa.certificate, LIMITS)).toThrow(malformed);
  });

  test('a digest that is not allowed', async () => {
    const message = await signMessage(CONTENT, messageSigner(p384), { embed: 'none' });
    const sha384 = Buffer.from(oid(OID.ecdsaWithSha384));
    const sha1 = Buffer.from(oid('1.2.840.10045.4.3.1'));
    expect(parsing(message)).not.toThrow();
    expect(parsing(replaced(message, sha384, sha1))).toThrow(malformed);
  });

  test('a signature algorithm with another hash than the digest', async () => {
    const message = await signMessage(CONTENT, messageSigner(p384), { embed: 'none' });
    const other = replaced(message, Buffer.from(oid(OID.ecdsaWithSha384)), Buffer.from(oid(OID.ecdsaWithSha256)));
    expect(parsing(other)).toThrow(malformed);
  });

  test.each([
    ['garbage', Buffer.from('garbage')],
    ['nothing', Buffer.of()],
    ['an envelope', sequence(oid(OID.authEnvelopedData), contextConstructed(0, sequence()))],
    [
      'certificates only',
      sequence(
        oid(OID.signedData),
        contextConstructed(0, sequence(Buffer.of(2, 1, 1), setOf(), sequence(oid(OID.data)), setOf())),
      ),
    ],
    [
      'no signer',
      sequence(
        oid(OID.signedData),
        contextConstructed(
          0,
          sequence(
            Buffer.of(2, 1, 1),
            setOf(),
            sequence(oid(OID.data), contextConstructed(0, octetString(CONTENT))),
            setOf(),
          ),
        ),
      ),
    ],
    ['indefinite length', Buffer.from('3080060960864801', 'hex')],
  ])('%s', (_, der) => {
    expect(parsing(der)).toThrow(malformed);
  });

  test('made by openssl without signed attributes, or detached, or streamed', () => {
    pki.file('content', CONTENT);
    const made = (...options: readonly string[]): Buffer => {
      const who = ['-signer', p256.certificateFile, '-inkey', p256.keyFile];
      return pki.openssl(
        'cms',
        '-sign',
        '-binary',
        '-in',
        'content',
        '-md',
        'sha256',
        '-outform',
        'DER',
        ...who,
        ...options,
      );
    };
    expect(Buffer.from(verifySignedBy(made('-nodetach'), p256.certificate, LIMITS))).toEqual(CONTENT);
    expect(parsing(made('-nodetach', '-noattr'))).toThrow(malformed);
    expect(parsing(made())).toThrow(malformed);
    expect(parsing(made('-nodetach', '-stream'))).toThrow(malformed);
  });
});

test('a key outside the profile does not verify even its own genuine signature', () => {
  pki.openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521', '-out', 'p521.key');
  pki.openssl('req', '-x509', '-key', 'p521.key', '-subj', '/CN=p521', '-out', 'p521.crt');
  pki.file('content', CONTENT);
  const args = ['-sign', '-binary', '-nodetach', '-in', 'content', '-outform', 'DER', '-md', 'sha256'];
  const message = pki.openssl('cms', ...args, '-signer', 'p521.crt', '-inkey', 'p521.key');
  const publicKey = createPublicKey(pki.read('p521.crt'));
  expect(() => verifySignature(parseSignedData(message, LIMITS), 0, publicKey)).toThrow(
    expect.objectContaining({ code: 'message.signature-invalid' }),
  );
});
