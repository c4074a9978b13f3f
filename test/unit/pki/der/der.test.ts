import { describe, expect, test } from 'vitest';
import { decodeOid, encodeOid, OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import {
  bitString,
  boolean,
  generalizedTime,
  implicitSetOf,
  integer,
  octetString,
  sequence,
  setOf,
  time,
  tlv,
  unsignedInteger,
} from '#pki/der/writer.ts';

const malformed = expect.objectContaining({ code: 'der.malformed' });
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const reader = (text: string): DerReader => new DerReader(hex(text));

describe('object identifiers', () => {
  test.each([
    ...Object.values(OID),
    '0.9',
    '1.39',
    '2.0',
    '2.47',
    '2.999.3',
    '2.25.329800735698586629295641978511506172918',
  ])('%s come back as written', (dotted) => {
    expect(decodeOid(encodeOid(dotted).subarray(2))).toBe(dotted);
  });
  test('are encoded as X.690 says', () => {
    expect(Buffer.from(encodeOid(OID.sha256)).toString('hex')).toBe('0609608648016503040201');
  });
  test.each([
    ['empty', ''],
    ['cut within an arc', '2a86'],
    ['with a leading zero octet in an arc', '2a8001'],
    ['with a leading zero octet at the start', '802a'],
    ['longer than any in use', '2a'.repeat(65)],
  ])('are refused when %s', (_, content) => {
    expect(decodeOid(hex(content))).toBeUndefined();
    expect(() => new DerReader(tlv(0x06, hex(content))).oid('x')).toThrow(malformed);
  });
});

describe('lengths', () => {
  test.each([0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000])('of %i octets come back as written', (length) => {
    const der = octetString(Buffer.alloc(length, 1));
    const read = new DerReader(der);
    expect(read.octetString('x')).toHaveLength(length);
    expect(read.done).toBe(true);
  });
  test.each([
    ['indefinite', '30800000'],
    ['not minimal, short form possible', '04810100'],
    ['not minimal, leading zero octet', `04820080${'00'.repeat(128)}`],
    ['of more than four octets', '04850000000001ff'],
    ['beyond the end', '0402ff'],
    ['cut', '0482'],
    ['absent', '04'],
    ['of a multi-octet tag', '1f8101020304'],
  ])('are refused when %s', (_, der) => {
    expect(() => reader(der).next()).toThrow(malformed);
  });
});

describe('integers', () => {
  test.each([
    [0, '020100'],
    [127, '02017f'],
    [128, '02020080'],
    [65_537, '0203010001'],
    [0x7fffffff, '02047fffffff'],
  ])('%i is %s', (value, der) => {
    expect(Buffer.from(integer(value)).toString('hex')).toBe(der);
    expect(reader(der).integer('x')).toBe(value);
  });
  test('of any magnitude are positive and minimal', () => {
    expect(Buffer.from(unsignedInteger(hex('0000ff'))).toString('hex')).toBe('020200ff');
    expect(Buffer.from(unsignedInteger(hex('00'))).toString('hex')).toBe('020100');
    expect(Buffer.from(unsignedInteger(hex(''))).toString('hex')).toBe('020100');
  });
  test.each([
    ['empty', '0200'],
    ['with a needless zero octet', '0202007f'],
    ['with a needless octet of ones', '0202ff80'],
  ])('are refused when %s', (_, der) => {
    expect(() => reader(der).integerBytes('x')).toThrow(malformed);
  });
  test('negative ones are no small numbers', () => {
    expect(reader('0201ff').integerBytes('x')).toHaveLength(1);
    expect(() => reader('0201ff').integer('x')).toThrow(malformed);
  });
  test('cannot be written from what is none', () => {
    for (const value of [-1, 1.5, 2 ** 53]) expect(() => integer(value)).toThrow(RangeError);
  });
});

describe('times', () => {
  test.each([
    '1950-01-01T00:00:00Z',
    '1999-12-31T23:59:59Z',
    '2026-02-28T12:30:00Z',
    '2049-12-31T23:59:59Z',
    '2050-01-01T00:00:00Z',
  ])('%s comes back as written', (iso) => {
    expect(new DerReader(time(new Date(iso))).time('x')).toEqual(new Date(iso));
    expect(new DerReader(generalizedTime(new Date(iso))).time('x')).toEqual(new Date(iso));
  });
  test('change their form in 2050', () => {
    expect(time(new Date('2049-12-31T23:59:59Z'))[0]).toBe(0x17);
    expect(time(new Date('2050-01-01T00:00:00Z'))[0]).toBe(0x18);
  });
  test.each([
    ['without seconds', 0x17, '2601010000Z'],
    ['with an offset', 0x17, '260101000000+0100'],
    ['with fractions', 0x18, '20260101000000.5Z'],
    ['on a day that is none', 0x17, '260230000000Z'],
    ['with a second that is none', 0x18, '20260101000060Z'],
    ['of the wrong length for their tag', 0x18, '260101000000Z'],
    ['of another tag', 0x0c, '260101000000Z'],
  ])('are refused when %s', (_, tag, text) => {
    expect(() => new DerReader(tlv(tag, Buffer.from(text))).time('x')).toThrow(malformed);
  });
});

describe('booleans', () => {
  test('come back as written', () => {
    for (const value of [true, false]) expect(new DerReader(boolean(value)).boolean('x')).toBe(value);
  });
  test.each(['010101', '0100', '0102ffff'])('%s is refused', (der) => {
    expect(() => reader(der).boolean('x')).toThrow(malformed);
  });
});

describe('structures', () => {
  test('sets are sorted by encoding, under an implicit tag too', () => {
    const members = [integer(300), integer(2), integer(1)];
    const sorted = '0201010201020202012c';
    expect(Buffer.from(setOf(...members)).toString('hex')).toBe(`310a${sorted}`);
    expect(Buffer.from(implicitSetOf(0, ...members)).toString('hex')).toBe(`a00a${sorted}`);
  });
  test('are read in order and to their end', () => {
    const read = readSequence(sequence(integer(5), octetString(hex('aa')), bitString(hex('bb'))), 'x');
    expect(read.integer('x')).toBe(5);
    expect(read.optional(0x02)).toBeUndefined();
    expect(read.optional(0x04)?.content).toEqual(hex('aa'));
    expect(() => read.end('x')).toThrow(malformed);
    expect(read.bitString('x')).toEqual(hex('bb'));
    expect(() => read.end('x')).not.toThrow();
    expect(() => read.next()).toThrow(malformed);
  });
  test.each([
    ['bytes behind their end', '300000'],
    ['another tag', '3100'],
    ['nothing', ''],
  ])('are refused with %s', (_, der) => {
    expect(() => readSequence(hex(der), 'x')).toThrow(malformed);
  });
  test('bit strings of whole octets only', () => {
    expect(() => reader('030201aa').bitString('x')).toThrow(malformed);
    expect(() => reader('0300').bitString('x')).toThrow(malformed);
  });
});
