/**
 * Key package: the clear content of a key envelope. It repeats for whom and what the key is, so that an envelope moved
 * to another place is noticed:
 *
 *     KeyPackage ::= SEQUENCE {
 *       format   INTEGER (1),
 *       device   UTF8String,
 *       keySet   UTF8String,
 *       version  INTEGER,
 *       key      OCTET STRING }     -- last, so that `tail -c 32` finds a 256-bit key
 */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { readSequence } from '#pki/der/reader.ts';
import { integer, octetString, sequence, utf8String } from '#pki/der/writer.ts';

const FORMAT = 1;
const MINIMUM_KEY = 16;
const MAXIMUM_KEY = 64;
const MAXIMUM_NAME = 128;
const MAXIMUM_PACKAGE = 512;

export interface KeyPackage {
  readonly device: string;
  readonly keySet: string;
  readonly version: number;
  /** Raw octets. A view into the package after `decodeKeyPackage`: wiping the package wipes it. */
  readonly key: Uint8Array;
}

/**
 * The package in DER. It holds the key in clear: the caller wipes it once it is sealed.
 * Errors: `input.invalid` for a key of less than 16 or more than 64 octets.
 */
export function encodeKeyPackage(content: KeyPackage): Buffer {
  const { device, keySet, version, key } = content;
  if (key.length < MINIMUM_KEY || key.length > MAXIMUM_KEY) {
    throw new CroupierError('input.invalid', `a working key has ${MINIMUM_KEY} to ${MAXIMUM_KEY} octets`);
  }
  const keyElement = octetString(key);
  const encoded = sequence(integer(FORMAT), utf8String(device), utf8String(keySet), integer(version), keyElement);
  keyElement.fill(0);
  return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.length);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function text(content: Uint8Array, what: string): string {
  if (content.length === 0 || content.length > MAXIMUM_NAME) {
    throw new CroupierError('envelope.malformed', `the key package has no usable ${what}`);
  }
  return utf8.decode(content);
}

/**
 * Reads a package, DER. Only the encoding is verified: the caller compares device, key set and version with what it
 * expects, and checks the key check value. Errors: `envelope.malformed`; they never quote the package.
 */
export function decodeKeyPackage(der: Uint8Array): KeyPackage {
  if (der.length > MAXIMUM_PACKAGE) throw new CroupierError('envelope.malformed', 'the key package is too large');
  try {
    const fields = readSequence(der, 'key package');
    const format = fields.integer('format');
    if (format !== FORMAT) throw new CroupierError('envelope.malformed', `key package of unknown format ${format}`);
    const device = text(fields.expect(0x0c, 'device').content, 'device');
    const keySet = text(fields.expect(0x0c, 'key set').content, 'key set');
    const version = fields.integer('version');
    const key = fields.octetString('key');
    fields.end('key package');
    if (key.length < MINIMUM_KEY || key.length > MAXIMUM_KEY) {
      throw new CroupierError('envelope.malformed', 'the key package holds a key of a wrong length');
    }
    return { device, keySet, version, key };
  } catch (error) {
    if (error instanceof CroupierError && error.code === 'envelope.malformed') throw error;
    throw new CroupierError('envelope.malformed', 'the content of the envelope is not a key package', { cause: error });
  }
}
