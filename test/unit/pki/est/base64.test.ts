import { describe, expect, test } from 'vitest';
import { decodeBase64, decodeBase64OrPem, encodeBase64 } from '#pki/est/base64.ts';

const LIMITS = { maxBytes: 1000 };
const OCTETS = Buffer.from(Array.from({ length: 100 }, (_, index) => index));
const DIGITS = OCTETS.toString('base64');
const malformed = expect.objectContaining({ code: 'base64.malformed' });

describe('a base64 body is read', () => {
  test.each([
    ['unwrapped', DIGITS],
    ['in lines', encodeBase64(OCTETS, 'lines')],
    ['in lines of LF', `${DIGITS.slice(0, 76)}\n${DIGITS.slice(76)}\n`],
    ['with white space anywhere', ` \t${DIGITS.split('').join(' \r\n\t')} `],
  ])('%s', (_, body) => {
    expect(decodeBase64(body, { maxBytes: 2000 })).toEqual(OCTETS);
    expect(decodeBase64(Buffer.from(body), { maxBytes: 2000 })).toEqual(OCTETS);
  });

  test('of every length modulo three', () => {
    for (let length = 1; length < 10; length += 1) {
      const octets = OCTETS.subarray(0, length);
      expect(decodeBase64(encodeBase64(octets), LIMITS)).toEqual(octets);
    }
  });
});

describe('a base64 body is refused', () => {
  test.each([
    ['empty', ''],
    ['only white space', ' \r\n'],
    ['without its padding', 'AAE'],
    ['cut within a quantum', 'AAECA'],
    ['with padding inside', 'AA==AAEC'],
    ['with too much padding', 'AAEC===='],
    ['with bits after its end', 'AB=='],
    ['with bits after its end of two octets', 'AAF='],
    ['of the URL alphabet', '-_-_'],
    ['with another character', 'AA*C'],
    ['with a vertical tab', 'AAEC\v'],
    ['with a character beyond ASCII', 'AAE\u00e9'],
    ['in PEM armour', `-----BEGIN X-----\n${DIGITS}\n-----END X-----\n`],
    ['raw DER', '0\u0082\u0001\u0000'],
  ])('when it is %s', (_, body) => {
    expect(() => decodeBase64(body, LIMITS)).toThrow(malformed);
    expect(() => decodeBase64(Buffer.from(body, 'latin1'), LIMITS)).toThrow(malformed);
  });

  test('when it exceeds the limit', () => {
    expect(decodeBase64(DIGITS, { maxBytes: DIGITS.length })).toEqual(OCTETS);
    expect(() => decodeBase64(DIGITS, { maxBytes: DIGITS.length - 1 })).toThrow(
      expect.objectContaining({ code: 'input.too-large' }),
    );
  });
});

describe('PEM armour', () => {
  const armoured = (label: string, digits = DIGITS, end = label): string =>
    `-----BEGIN ${label}-----\n${digits}\n-----END ${end}-----\n`;

  test('is accepted around a request, as is bare base64', () => {
    for (const body of [DIGITS, armoured('CERTIFICATE REQUEST'), `\r\n${armoured('NEW CERTIFICATE REQUEST')}\n`]) {
      expect(decodeBase64OrPem(body, LIMITS)).toEqual(OCTETS);
    }
    expect(decodeBase64OrPem(armoured('CERTIFICATE'), LIMITS, ['CERTIFICATE'])).toEqual(OCTETS);
  });

  test.each([
    ['of something else', armoured('PRIVATE KEY')],
    ['that ends as something else', armoured('CERTIFICATE REQUEST', DIGITS, 'CERTIFICATE')],
    ['twice', armoured('CERTIFICATE REQUEST').repeat(2)],
    ['around nothing', armoured('CERTIFICATE REQUEST', '')],
    ['around no base64', armoured('CERTIFICATE REQUEST', 'AA*C')],
    ['with text before it', `Subject: x\n${armoured('CERTIFICATE REQUEST')}`],
    ['without an end', armoured('CERTIFICATE REQUEST').slice(0, 60)],
  ])('%s is refused', (_, body) => {
    expect(() => decodeBase64OrPem(body, LIMITS)).toThrow(malformed);
  });
});

test('base64 is written in one line, or in lines of 64 characters that end in CR LF', () => {
  expect(encodeBase64(OCTETS)).toBe(DIGITS);
  const lines = encodeBase64(OCTETS, 'lines').split('\r\n');
  expect(lines.map((line) => line.length)).toEqual([64, 64, 8, 0]);
  expect(lines.join('')).toBe(DIGITS);
});
