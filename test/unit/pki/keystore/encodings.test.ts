import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ecdsaSignatureToDer } from '#pki/keystore/pkcs11/ecdsa-signature.ts';
import { ecSpki, rsaSpki } from '#pki/keystore/pkcs11/public-key.ts';
import { oid, octetString } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('ECDSA signature from r || s to DER', () => {
  it('given integers with leading zeros and with high bits, then they are minimal and positive', () => {
    const raw = Buffer.concat([
      Buffer.from('00'.repeat(30) + '0080', 'hex'),
      Buffer.from('7f' + '00'.repeat(31), 'hex'),
    ]);

    expect(hex(ecdsaSignatureToDer(raw))).toBe(`30260202008002207f${'00'.repeat(31)}`);
  });

  for (const namedCurve of ['P-256', 'P-384']) {
    it(`given many ${namedCurve} signatures of node:crypto, then their DER verifies`, () => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
      for (let i = 0; i < 300; i += 1) {
        const data = Buffer.from(`message ${i}`);
        const raw = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
        expect(verify('sha256', data, { key: publicKey, dsaEncoding: 'der' }, ecdsaSignatureToDer(raw))).toBe(true);
      }
    });
  }

  it('given what is no signature, then it throws', () => {
    for (const length of [0, 1, 63, 98]) expect(() => ecdsaSignatureToDer(new Uint8Array(length))).toThrow(RangeError);
  });
});

describe('SubjectPublicKeyInfo from PKCS#11 attributes', () => {
  it.each([
    ['P-256', OID.p256, 65],
    ['P-384', OID.p384, 97],
  ])(
    'given a point on %s, bare or as OCTET STRING, then it is what node:crypto exports',
    (namedCurve, curve, length) => {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve });
      const spki = publicKey.export({ format: 'der', type: 'spki' });
      const point = spki.subarray(-length);

      expect(hex(ecSpki(oid(curve), point))).toBe(hex(spki));
      expect(hex(ecSpki(oid(curve), octetString(point)))).toBe(hex(spki));
    },
  );

  it('given a point of another length, then hsm.mechanism-unsupported', () => {
    expect(() => ecSpki(oid(OID.p256), new Uint8Array(33).fill(2))).toThrow(
      expect.objectContaining({ code: 'hsm.mechanism-unsupported' }),
    );
  });

  it('given modulus and exponent, then it is what node:crypto exports', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
    const spki = rsaSpki(Buffer.from(n, 'base64url'), Buffer.from(e, 'base64url'));

    expect(createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).equals(publicKey)).toBe(true);
  });
});
