import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { decodeCsrAttrs, encodeCsrAttrs } from '#pki/est/csrattrs.ts';
import { OID } from '#pki/der/oid.ts';
import { integer, octetString, oid, sequence, setOf } from '#pki/der/writer.ts';

const extension = (id: string): Uint8Array => sequence(oid(id), octetString(sequence()));
const KEYS = ['EC-P256', 'EC-P384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const;

describe('CSR attributes', () => {
  test('give back what was wanted, in order', () => {
    const extensions = [extension(OID.subjectAltName), extension(OID.extendedKeyUsage)];
    const decoded = decodeCsrAttrs(encodeCsrAttrs({ keys: KEYS, extensions, challengePassword: true }));
    expect(decoded.keys).toEqual(KEYS);
    expect(decoded.extensions.map((der) => Buffer.from(der))).toEqual(extensions);
    expect(decoded.oids).toEqual([OID.challengePassword]);
  });

  test('may be empty', () => {
    expect(Buffer.from(encodeCsrAttrs({ keys: [] })).toString('hex')).toBe('3000');
    expect(decodeCsrAttrs(Buffer.from('3000', 'hex'))).toEqual({ keys: [], extensions: [], oids: [] });
  });

  test('hold one extension request with one Extensions, and key types with curve or size', () => {
    const der = encodeCsrAttrs({ keys: ['EC-P384', 'RSA-4096'], extensions: [extension(OID.subjectAltName)] });
    const printed = execFileSync('openssl', ['asn1parse', '-inform', 'DER'], { input: der }).toString();
    const lines = printed
      .trim()
      .split('\n')
      .map((line) => line.replace(/^.*d=(\d+).*(?:cons|prim): */, '$1 ').trim());
    expect(lines.map((line) => line.replace(/\s+(:|\[)/, ' $1').replace(' :', ' '))).toEqual([
      '0 SEQUENCE',
      '1 SEQUENCE',
      '2 OBJECT id-ecPublicKey',
      '2 SET',
      '3 OBJECT secp384r1',
      '1 SEQUENCE',
      '2 OBJECT rsaEncryption',
      '2 SET',
      '3 INTEGER 1000',
      '1 SEQUENCE',
      '2 OBJECT Extension Request',
      '2 SET',
      '3 SEQUENCE',
      '4 SEQUENCE',
      '5 OBJECT X509v3 Subject Alternative Name',
      '5 OCTET STRING [HEX DUMP]:3000',
    ]);
  });

  test('of another server are read: unknown attributes, curves and sizes are passed over', () => {
    const der = sequence(
      oid('1.3.6.1.1.1.1.22'),
      sequence(oid(OID.ecPublicKey), setOf(oid('1.3.132.0.35'), oid(OID.p256))),
      sequence(oid(OID.rsaEncryption), setOf(integer(1024))),
      sequence(oid('2.999.1'), setOf(integer(5))),
      oid(OID.ecdsaWithSha384),
    );
    expect(decodeCsrAttrs(der)).toEqual({
      keys: ['EC-P256'],
      extensions: [],
      oids: ['1.3.6.1.1.1.1.22', OID.ecdsaWithSha384],
    });
  });

  test.each<[string, Uint8Array]>([
    ['nothing', Buffer.of()],
    ['no sequence', setOf()],
    ['an element of another kind', sequence(integer(1))],
    ['two extension requests', sequence(...[1, 2].map(() => sequence(oid(OID.extensionRequest), setOf(sequence()))))],
    ['two Extensions in one request', sequence(sequence(oid(OID.extensionRequest), setOf(sequence(), sequence())))],
    ['a curve that is no identifier', sequence(sequence(oid(OID.ecPublicKey), setOf(integer(1))))],
    ['more elements than sensible', sequence(...Array.from({ length: 65 }, () => oid(OID.challengePassword)))],
    ['trailing bytes', Buffer.concat([sequence(), Buffer.of(0)])],
  ])('are refused when they are %s', (_, der) => {
    expect(() => decodeCsrAttrs(der)).toThrow(expect.objectContaining({ code: 'der.malformed' }));
  });

  test('are refused beyond their limit', () => {
    const big = (length: number): Uint8Array =>
      sequence(sequence(oid('2.999.1'), setOf(octetString(Buffer.alloc(length)))));
    expect(() => decodeCsrAttrs(big(16_000))).not.toThrow();
    expect(() => decodeCsrAttrs(big(17_000))).toThrow(expect.objectContaining({ code: 'input.too-large' }));
  });
});
