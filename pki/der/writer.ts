/**
 * DER encoding (X.690) of the fixed shapes that Croupier signs. Encoders return complete TLVs; they never parse.
 */
import { Buffer } from 'node:buffer';
import { encodeOid } from './oid.ts';

export type Der = Uint8Array;

function header(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([tag, length]);
  if (length < 0x100) return Buffer.from([tag, 0x81, length]);
  if (length < 0x10000) return Buffer.from([tag, 0x82, length >> 8, length & 0xff]);
  return Buffer.from([tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff]);
}

/** One TLV with the given tag octet around the concatenation of `parts`. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Der {
  let length = 0;
  for (const part of parts) length += part.length;
  const head = header(tag, length);
  return Buffer.concat([head, ...parts], head.length + length);
}

export const sequence = (...parts: readonly Uint8Array[]): Der => tlv(0x30, ...parts);

const inDerOrder = (a: Uint8Array, b: Uint8Array): number => Buffer.compare(a, b);

/** SET OF: members are sorted as DER demands (X.690, 11.6). */
export const setOf = (...members: readonly Uint8Array[]): Der => tlv(0x31, ...[...members].sort(inDerOrder));

/** SET OF under an IMPLICIT context-specific tag. */
export const implicitSetOf = (number: number, ...members: readonly Uint8Array[]): Der =>
  tlv(0xa0 | number, ...[...members].sort(inDerOrder));

/** Context-specific constructed tag, EXPLICIT or IMPLICIT of a constructed type. */
export const contextConstructed = (number: number, ...parts: readonly Uint8Array[]): Der =>
  tlv(0xa0 | number, ...parts);

/** Context-specific primitive tag, IMPLICIT of a primitive type. */
export const contextPrimitive = (number: number, content: Uint8Array): Der => tlv(0x80 | number, content);

export const oid = (dotted: string): Der => encodeOid(dotted);
export const octetString = (content: Uint8Array): Der => tlv(0x04, content);
export const bitString = (content: Uint8Array, unusedBits = 0): Der => tlv(0x03, Buffer.from([unusedBits]), content);
export const boolean = (value: boolean): Der => tlv(0x01, Buffer.from([value ? 0xff : 0]));
export const nullValue = (): Der => tlv(0x05);
export const utf8String = (text: string): Der => tlv(0x0c, Buffer.from(text, 'utf8'));
export const printableString = (text: string): Der => tlv(0x13, Buffer.from(text, 'latin1'));
export const ia5String = (text: string): Der => tlv(0x16, Buffer.from(text, 'latin1'));

/** INTEGER from an unsigned big-endian magnitude: leading zeros go, a sign octet comes where needed. */
export function unsignedInteger(magnitude: Uint8Array): Der {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start += 1;
  const body = magnitude.subarray(start);
  if (body.length === 0) return tlv(0x02, Buffer.from([0]));
  return (body[0] ?? 0) & 0x80 ? tlv(0x02, Buffer.from([0]), body) : tlv(0x02, body);
}

/** INTEGER of a small non-negative number. */
export function integer(value: number): Der {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a non-negative integer: ${value}`);
  const hex = value.toString(16);
  return unsignedInteger(Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex'));
}

/** Time as RFC 5280 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050; seconds, UTC. */
export function time(value: Date): Der {
  const iso = value.toISOString();
  const digits = `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 10)}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`;
  const year = value.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? tlv(0x17, Buffer.from(digits.slice(2), 'latin1'))
    : tlv(0x18, Buffer.from(digits, 'latin1'));
}

/** GeneralizedTime in every year (CRL invalidityDate, OCSP). */
export function generalizedTime(value: Date): Der {
  return tlv(0x18, Buffer.from(`${value.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`, 'latin1'));
}
