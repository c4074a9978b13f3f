/** The base64 of EST bodies (RFC 8951, 3; RFC 4648, 4). */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';

/** RFC 8951, 3.1: receivers tolerate these wherever they stand. */
const WHITE_SPACE = /[\r\n\t ]+/g;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const ARMOUR = /^\s*-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----\s*$/;

export interface Base64Limits {
  /** Largest body, in bytes as received. */
  readonly maxBytes: number;
}

function decode(text: string): Uint8Array {
  const digits = text.replace(WHITE_SPACE, '');
  if (digits === '') throw new CroupierError('base64.malformed', 'the body is empty');
  if (!BASE64.test(digits)) throw new CroupierError('base64.malformed', 'the body is not base64');
  const octets = Buffer.from(digits, 'base64');
  // Bits left over in the last digit must be zero, so that one DER has one encoding.
  const last = octets.length % 3;
  if (last > 0 && octets.toString('base64', octets.length - last) !== digits.slice(-4)) {
    throw new CroupierError('base64.malformed', 'the base64 of the body has bits after its end');
  }
  return octets;
}

/**
 * The octets of a base64 body. CR, LF, space and tab are passed over anywhere; everything else is strict: alphabet,
 * padding, nothing after the end, not empty. Errors: `input.too-large`, `base64.malformed`.
 */
export function decodeBase64(body: Uint8Array | string, { maxBytes }: Base64Limits): Uint8Array {
  return decode(bounded(body, maxBytes));
}

/**
 * As `decodeBase64`, but one block in PEM armour (RFC 7468) with one of `labels` is accepted as well, since clients send
 * that too. Errors: as `decodeBase64`.
 */
export function decodeBase64OrPem(
  body: Uint8Array | string,
  { maxBytes }: Base64Limits,
  labels: readonly string[] = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'],
): Uint8Array {
  const text = bounded(body, maxBytes);
  const [, label, armoured] = ARMOUR.exec(text) ?? [];
  if (label === undefined || armoured === undefined) return decode(text);
  if (!labels.includes(label))
    throw new CroupierError('base64.malformed', `the body is a PEM block ${label}, not ${labels[0]}`);
  return decode(armoured);
}

function bounded(body: Uint8Array | string, maxBytes: number): string {
  if (body.length > maxBytes) {
    throw new CroupierError('input.too-large', `the body has ${body.length} bytes; at most ${maxBytes} are allowed`);
  }
  return typeof body === 'string' ? body : Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1');
}

/**
 * Base64 of `der`. `unwrapped` is one line without an end; `lines` are lines of 64 characters, each ended by CR LF.
 * No one form suits all EST clients, which is why the caller chooses.
 */
export function encodeBase64(der: Uint8Array, form: 'unwrapped' | 'lines' = 'unwrapped'): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64');
  return form === 'unwrapped' ? base64 : base64.replace(/.{1,64}/g, '$&\r\n');
}
