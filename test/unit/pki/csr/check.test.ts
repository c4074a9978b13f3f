import { checkPrimeSync, createPublicKey, generateKeyPairSync, generatePrimeSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { checkPublicKey } from '#pki/csr/check.ts';
import { hasCloseFactors, hasRocaFingerprint, smallFactor } from '#pki/csr/rsa-weakness.ts';
import { OID } from '#pki/der/oid.ts';
import { bitString, integer, nullValue, oid, sequence, unsignedInteger } from '#pki/der/writer.ts';
import { KEY_ALGORITHMS } from '#pki/keys/signer.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { flipped, freshSpki } from '#test/support/test-pki.ts';

const toBytes = (value: bigint): Buffer => {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex');
};
const rsaSpki = (modulus: bigint, exponent = 65537n): Uint8Array =>
  sequence(
    sequence(oid(OID.rsaEncryption), nullValue()),
    bitString(sequence(unsignedInteger(toBytes(modulus)), unsignedInteger(toBytes(exponent)))),
  );
const ecSpki = (curve: string, point: Uint8Array): Uint8Array =>
  sequence(sequence(oid(OID.ecPublicKey), oid(curve)), bitString(point));
const modulusOf = (spki: Uint8Array): bigint => {
  const { n = '' } = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({ format: 'jwk' });
  return BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
};

const rsa2048 = await freshSpki('RSA-2048');
const p256 = await freshSpki('EC-P256');
const modulus = modulusOf(rsa2048);
const RSA = ['RSA-2048'] as const;

describe('key types', () => {
  test.each(KEY_ALGORITHMS)(
    'given a fresh key of %s, then it is accepted where it is allowed and only there',
    async (algorithm) => {
      const spki = await freshSpki(algorithm);
      expect(checkPublicKey(spki, KEY_ALGORITHMS)).toBe(algorithm);
      const others = KEY_ALGORITHMS.filter((other) => other !== algorithm);
      const refusal = await expectRefusal('csr.key-type-refused', () => checkPublicKey(spki, others));
      expect(refusal.message).toContain(others.join(', '));
    },
  );

  test.each(['P-521', 'secp256k1', 'P-224'])('given the curve %s, then it is refused', async (namedCurve) => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve });
    await expectRefusal('csr.key-type-refused', () =>
      checkPublicKey(publicKey.export({ format: 'der', type: 'spki' }), KEY_ALGORITHMS),
    );
  });

  test('given explicit curve parameters, then they are refused, even those of P-256', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' });
    await expectRefusal('csr.key-type-refused', () =>
      checkPublicKey(publicKey.export({ format: 'der', type: 'spki' }), KEY_ALGORITHMS),
    );
  });

  test.each(['x25519', 'ed448', 'rsa-pss'] as const)('given a key of type %s, then it is refused', async (type) => {
    const { publicKey } =
      type === 'rsa-pss' ? generateKeyPairSync(type, { modulusLength: 2048 }) : generateKeyPairSync(type as 'ed448');
    await expectRefusal('csr.key-type-refused', () =>
      checkPublicKey(publicKey.export({ format: 'der', type: 'spki' }), KEY_ALGORITHMS),
    );
  });

  test('given bytes that are no key, then they are malformed', async () => {
    await expectRefusal('csr.malformed', () => checkPublicKey(p256.subarray(0, -1), KEY_ALGORITHMS));
    await expectRefusal('csr.malformed', () => checkPublicKey(Buffer.alloc(0), KEY_ALGORITHMS));
  });
});

describe('elliptic curve points', () => {
  const point = p256.subarray(-65);
  const check = (octets: Uint8Array) => () => checkPublicKey(ecSpki(OID.p256, octets), ['EC-P256']);

  test('given a point on the curve, then it is accepted; off the curve, it is weak', async () => {
    expect(check(point)()).toBe('EC-P256');
    await expectRefusal('csr.key-weak', check(flipped(point, 64)));
    await expectRefusal('csr.key-weak', check(flipped(point, 1)));
  });

  test('given the point at infinity, a compressed or hybrid form, then it is weak: one key has one encoding', async () => {
    const parity = (point[64] ?? 0) & 1;
    await expectRefusal('csr.key-weak', check(Buffer.from([0])));
    await expectRefusal('csr.key-weak', check(Buffer.concat([Buffer.from([2 + parity]), point.subarray(1, 33)])));
    await expectRefusal('csr.key-weak', check(Buffer.concat([Buffer.from([6 + parity]), point.subarray(1)])));
  });

  test('given a point of P-256 said to be of P-384, then it is weak', async () => {
    await expectRefusal('csr.key-weak', () => checkPublicKey(ecSpki(OID.p384, point), ['EC-P384']));
  });
});

describe('RSA moduli and exponents', () => {
  test('given 1024 bits, then the key is weak; given 2047, 2049 or 2560, its size is refused', async () => {
    const sized = (bits: number) => (modulus >> BigInt(2048 - bits)) | 1n;
    await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(sized(1024)), RSA));
    await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(sized(2047)), RSA));
    await expectRefusal('csr.key-type-refused', () => checkPublicKey(rsaSpki((modulus << 1n) | 1n), RSA));
    await expectRefusal('csr.key-type-refused', () => checkPublicKey(rsaSpki((modulus << 512n) | 1n), KEY_ALGORITHMS));
  });

  test.each([3n, 17n, 65535n, 65538n, (1n << 256n) + 1n])(
    'given the exponent %s, then the key is weak',
    async (exponent) => {
      await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(modulus, exponent), RSA));
    },
  );

  test.each([65537n, 65539n, (1n << 256n) - 1n])('given the exponent %s, then the key is accepted', (exponent) => {
    expect(checkPublicKey(rsaSpki(modulus, exponent), RSA)).toBe('RSA-2048');
  });

  test('given an even modulus or one with a small factor, then the key is weak', async () => {
    await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(modulus - 1n), RSA));
    const cofactor = (modulus / 751n) | 1n;
    const weak = cofactor * 751n;
    expect(weak.toString(2)).toHaveLength(2048);
    await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(weak), RSA));
    expect(smallFactor(751n * 757n)).toBe(751);
    expect(smallFactor(757n * 761n)).toBeUndefined();
  });

  test('given an encoding that is not canonical, then the key is malformed: one key has one encoding', async () => {
    const body = bitString(sequence(unsignedInteger(toBytes(modulus)), integer(65537)));
    const spki = sequence(sequence(oid(OID.rsaEncryption), nullValue()), body);
    expect(checkPublicKey(spki, RSA)).toBe('RSA-2048');
    await expectRefusal('csr.malformed', () => checkPublicKey(sequence(sequence(oid(OID.rsaEncryption)), body), RSA));
  });
});

describe('keys of broken generators', () => {
  /** The product of the first 126 primes, as RSALib takes it for 2048-bit keys. */
  const primorial = (() => {
    let product = 1n;
    for (let n = 2, count = 0; count < 126; n += 1) {
      if (checkPrimeSync(BigInt(n))) {
        product *= BigInt(n);
        count += 1;
      }
    }
    return product;
  })();

  function power(base: bigint, exponent: bigint): bigint {
    let result = 1n;
    for (let square = base, left = exponent; left > 0n; left >>= 1n, square = (square * square) % primorial) {
      if (left & 1n) result = (result * square) % primorial;
    }
    return result;
  }

  function rocaPrime(): bigint {
    for (;;) {
      const a = BigInt(`0x${randomBytes(8).toString('hex')}`);
      const k = (1n << 1024n) / primorial - BigInt(`0x${randomBytes(5).toString('hex')}`);
      const candidate = k * primorial + power(65537n, a);
      if (candidate < 1n << 1024n && checkPrimeSync(candidate)) return candidate;
    }
  }

  test('given a key built like those of CVE-2017-15361, then it is weak', async () => {
    const roca = rocaPrime() * rocaPrime();
    expect(hasRocaFingerprint(roca)).toBe(true);
    expect(hasRocaFingerprint(modulus)).toBe(false);
    const refusal = await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(roca), RSA));
    expect(refusal.message).toContain('ROCA');
  });

  test('given primes close to each other (CVE-2022-26320), then the key is weak', async () => {
    const p = generatePrimeSync(1024, { bigint: true });
    let q = p + 2n;
    while (!checkPrimeSync(q)) q += 2n;
    expect(hasCloseFactors(modulus)).toBe(false);
    const refusal = await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(p * q), RSA));
    expect(refusal.message).toContain('close');
    await expectRefusal('csr.key-weak', () => checkPublicKey(rsaSpki(p * p), RSA));
  });
});
