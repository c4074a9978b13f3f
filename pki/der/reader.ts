/**
 * DER decoding, strict and bounded: definite minimal lengths only, no trailing bytes unless the caller takes them.
 * Every fault is a `der.malformed` error.
 */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { decodeOid } from './oid.ts';

export interface Tlv {
  readonly tag: number;
  /** Content octets, a view into the input. */
  readonly content: Uint8Array;
  /** Tag, length and content, a view into the input. */
  readonly whole: Uint8Array;
}

function malformed(what: string): CroupierError {
  return new CroupierError('der.malformed', `malformed DER: ${what}`);
}

/** Reads the elements of a constructed value one after the other. */
export class DerReader {
  private readonly bytes: Uint8Array;
  private offset = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get done(): boolean {
    return this.offset >= this.bytes.length;
  }

  /** Tag octet of the next element, or undefined at the end. */
  peek(): number | undefined {
    return this.bytes[this.offset];
  }

  /** The next element of any tag. */
  next(): Tlv {
    const { bytes, offset } = this;
    const tag = bytes[offset];
    const first = bytes[offset + 1];
    if (tag === undefined || first === undefined) throw malformed('it ends within an element');
    if ((tag & 0x1f) === 0x1f) throw malformed('multi-octet tag');
    let length = first;
    let start = offset + 2;
    if (first >= 0x80) {
      const octets = first & 0x7f;
      if (octets === 0 || octets > 4) throw malformed('indefinite or oversized length');
      length = 0;
      for (let i = 0; i < octets; i += 1) length = length * 256 + (bytes[start + i] ?? 0);
      start += octets;
      if (length < 0x80 || length < 256 ** (octets - 1)) throw malformed('length not minimal');
    }
    const end = start + length;
    if (end > bytes.length) throw malformed('it ends within an element');
    this.offset = end;
    return { tag, content: bytes.subarray(start, end), whole: bytes.subarray(offset, end) };
  }

  /** The next element, which must have this tag. */
  expect(tag: number, what: string): Tlv {
    const found = this.peek();
    if (found !== tag)
      throw malformed(
        `${what}: expected tag 0x${tag.toString(16)}, found ${found === undefined ? 'the end' : `0x${found.toString(16)}`}`,
      );
    return this.next();
  }

  /** The next element if it has this tag. */
  optional(tag: number): Tlv | undefined {
    return this.peek() === tag ? this.next() : undefined;
  }

  sequence(what: string): DerReader {
    return new DerReader(this.expect(0x30, what).content);
  }

  set(what: string): DerReader {
    return new DerReader(this.expect(0x31, what).content);
  }

  oid(what: string): string {
    const dotted = decodeOid(this.expect(0x06, what).content);
    if (dotted === undefined) throw malformed(`${what}: not an object identifier`);
    return dotted;
  }

  octetString(what: string): Uint8Array {
    return this.expect(0x04, what).content;
  }

  /** A BIT STRING of whole octets. */
  bitString(what: string): Uint8Array {
    const { content } = this.expect(0x03, what);
    if (content[0] !== 0) throw malformed(`${what}: bit string with unused bits`);
    return content.subarray(1);
  }

  /** Content octets of an INTEGER, as they stand (two's complement). */
  integerBytes(what: string): Uint8Array {
    const { content } = this.expect(0x02, what);
    const [first, second] = content;
    if (first === undefined) throw malformed(`${what}: empty integer`);
    if (second !== undefined && (first === 0 ? second < 0x80 : first === 0xff && second >= 0x80)) {
      throw malformed(`${what}: integer not minimal`);
    }
    return content;
  }

  /** An INTEGER that fits a small non-negative number. */
  integer(what: string): number {
    const content = this.integerBytes(what);
    if (content.length > 4 || (content[0] ?? 0) & 0x80) throw malformed(`${what}: integer out of range`);
    let value = 0;
    for (const octet of content) value = value * 256 + octet;
    return value;
  }

  /** A BOOLEAN; DER knows two encodings only. */
  boolean(what: string): boolean {
    const { content } = this.expect(0x01, what);
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw malformed(`${what}: not a boolean`);
    return content[0] === 0xff;
  }

  /** A UTCTime or GeneralizedTime in the forms of RFC 5280, 4.1.2.5: whole seconds, UTC. */
  time(what: string): Date {
    const { tag, content } = this.next();
    const text = Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');
    const digits = tag === 0x17 ? `${text < '5' ? '20' : '19'}${text}` : text;
    const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
    if ((tag !== 0x17 && tag !== 0x18) || parts === null) throw malformed(`${what}: not a time`);
    const [, year, month, day, hour, minute, second] = parts;
    const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
    const time = new Date(iso);
    if (Number.isNaN(time.getTime()) || time.toISOString() !== iso) throw malformed(`${what}: not a time`);
    return time;
  }

  /** Nothing may follow. */
  end(what: string): void {
    if (!this.done) throw malformed(`${what}: bytes follow its end`);
  }
}

/** Opens one SEQUENCE that must span all of `der`. */
export function readSequence(der: Uint8Array, what: string): DerReader {
  const outer = new DerReader(der);
  const inner = outer.sequence(what);
  outer.end(what);
  return inner;
}
