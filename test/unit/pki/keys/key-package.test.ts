import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeKeyPackage, encodeKeyPackage } from '#pki/keys/key-package.ts';
import { integer, octetString, sequence, utf8String } from '#pki/der/writer.ts';
import { errorCode } from '#schema/errors.ts';

const content = { device: 'EGM-000123', keySet: 'wallet-kek', version: 7, key: Buffer.alloc(32, 0xa5) };

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return errorCode(error);
  }
  return 'accepted';
};

describe('key package', () => {
  test('given any content, when it is encoded and decoded, then it is the same, and the key is at the end', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[A-Za-z0-9-]{1,64}$/),
        fc.stringMatching(/^[a-z0-9-]{1,48}$/),
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.uint8Array({ minLength: 16, maxLength: 64 }),
        (device, keySet, version, key) => {
          const der = encodeKeyPackage({ device, keySet, version, key });
          const decoded = decodeKeyPackage(der);
          expect({ ...decoded, key: Buffer.from(decoded.key) }).toEqual({
            device,
            keySet,
            version,
            key: Buffer.from(key),
          });
          expect(Buffer.compare(der.subarray(-key.length), key)).toBe(0);
        },
      ),
    );
  });

  test('given a decoded package, when the package is wiped, then the key is gone with it', () => {
    const der = encodeKeyPackage(content);
    const { key } = decodeKeyPackage(der);
    expect(Buffer.compare(key, content.key)).toBe(0);
    der.fill(0);
    expect(Buffer.compare(key, Buffer.alloc(32))).toBe(0);
  });

  test('given a key that is too short, then it is neither encoded nor decoded; one of 16 octets is', () => {
    const short = sequence(integer(1), utf8String('a'), utf8String('b'), integer(1), octetString(Buffer.alloc(15)));
    expect(refusal(() => encodeKeyPackage({ ...content, key: Buffer.alloc(15) }))).toBe('input.invalid');
    expect(refusal(() => decodeKeyPackage(short))).toBe('envelope.malformed');
    expect(refusal(() => decodeKeyPackage(encodeKeyPackage({ ...content, key: Buffer.alloc(16) })))).toBe('accepted');
  });

  test('given another format, trailing or missing bytes, or an empty name, then it is malformed and never quoted', () => {
    const good = encodeKeyPackage(content);
    const key = octetString(content.key);
    const bad = [
      sequence(integer(2), utf8String('a'), utf8String('b'), integer(1), key),
      sequence(integer(1), utf8String(''), utf8String('b'), integer(1), key),
      sequence(integer(1), utf8String('a'), utf8String('b'), integer(1)),
      sequence(integer(1), utf8String('a'), utf8String('b'), integer(1), key, key),
      Buffer.concat([good, Buffer.of(0)]),
      good.subarray(0, -1),
      Buffer.alloc(0),
    ];
    for (const der of bad) expect(refusal(() => decodeKeyPackage(der))).toBe('envelope.malformed');
    expect(refusal(() => decodeKeyPackage(good))).toBe('accepted');
  });
});
