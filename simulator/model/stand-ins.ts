/** What stands in the model's messages for digests, times and nonces: made by the million, so without a parser. */
import type { Sha256 } from '#schema/ids.ts';

const DIGEST_DIGITS = 64;
const MINUTE = 60_000;
const TIME_DIGITS = 10;
const NONCE_DIGITS = 32;
const RADIX = 36;

const isDigest = (text: string): text is Sha256 => text.length === DIGEST_DIGITS;

/** Two numbers as a digest: hexadecimal, the same only for the same numbers. */
export function digestOf(one: number, other: number): Sha256 {
  const text = `${one.toString(16)}f${other}f`.padEnd(DIGEST_DIGITS, '0');
  if (!isDigest(text)) throw new RangeError('the numbers are too large for a digest');
  return text;
}

let minute = Number.NaN;
let prefix = '';

/** RFC 3339 with milliseconds, as `Date.prototype.toISOString`; the minute is remembered. */
export function timestamp(ms: number): string {
  const within = ms % MINUTE;
  const start = ms - within;
  if (start !== minute) {
    minute = start;
    prefix = new Date(start).toISOString().slice(0, -'00.000Z'.length);
  }
  const seconds = Math.floor(within / 1_000);
  const rest = within - seconds * 1_000;
  return `${prefix}${seconds < 10 ? '0' : ''}${seconds}.${rest < 100 ? (rest < 10 ? '00' : '0') : ''}${rest}Z`;
}

/** A nonce that tells when and as which report it was made; the device needs no list of them. */
export function nonceOf(now: number, counter: number): string {
  return `${now.toString(RADIX).padStart(TIME_DIGITS, '0')}-${counter}-`.padEnd(NONCE_DIGITS, '0');
}

export function readNonce(nonce: string): { readonly madeAt: number; readonly counter: number } {
  const end = nonce.indexOf('-', TIME_DIGITS + 1);
  return {
    madeAt: Number.parseInt(nonce.slice(0, TIME_DIGITS), RADIX),
    counter: Number.parseInt(nonce.slice(TIME_DIGITS + 1, end), 10),
  };
}
