/** Certificate extensions (RFC 5280, 4.2): the encodings that Croupier writes and the readings that it needs. */
import { isIP } from 'node:net';
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import {
  bitString,
  boolean,
  contextConstructed,
  contextPrimitive,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  type Der,
} from '#pki/der/writer.ts';

/** In the order of the bits (RFC 5280, 4.2.1.3). */
export const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

export type SubjectAltName =
  | { readonly type: 'uri'; readonly value: string }
  | { readonly type: 'dns'; readonly value: string }
  | { readonly type: 'ip'; readonly value: string };

export interface SubjectAltNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  /** IPv4 in dotted form, IPv6 as eight groups of hex without leading zeros. */
  readonly ipAddresses: readonly string[];
  /** Serial number of the hardware module (RFC 4108, IEEE 802.1AR), hex, if there is one. */
  readonly hardwareSerial: string | undefined;
  /** How many names there are, including those of forms not listed above. */
  readonly count: number;
}

export interface BasicConstraints {
  readonly ca: boolean;
  readonly pathLength: number | undefined;
}

const MAXIMUM_NAMES = 64;

function extension(id: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(id), boolean(true), octetString(value)) : sequence(oid(id), octetString(value));
}

/** Critical, as RFC 5280 demands of CAs. */
export function basicConstraintsExtension(pathLength: number | undefined): Der {
  const value = pathLength === undefined ? sequence(boolean(true)) : sequence(boolean(true), integer(pathLength));
  return extension(OID.basicConstraints, true, value);
}

/** Critical. */
export function keyUsageExtension(usages: readonly KeyUsage[]): Der {
  let bits = 0;
  let last = 0;
  for (const usage of usages) {
    const bit = KEY_USAGES.indexOf(usage);
    bits |= 0x8000 >> bit;
    last = Math.max(last, bit);
  }
  const octets = last < 8 ? Buffer.from([bits >> 8]) : Buffer.from([bits >> 8, bits & 0xff]);
  return extension(OID.keyUsage, true, bitString(octets, octets.length * 8 - 1 - last));
}

export function extendedKeyUsageExtension(purposes: readonly string[]): Der {
  return extension(OID.extendedKeyUsage, false, sequence(...purposes.map((purpose) => oid(purpose))));
}

export function subjectKeyIdentifierExtension(identifier: Uint8Array): Der {
  return extension(OID.subjectKeyIdentifier, false, octetString(identifier));
}

export function authorityKeyIdentifierExtension(identifier: Uint8Array): Der {
  return extension(OID.authorityKeyIdentifier, false, sequence(contextPrimitive(0, identifier)));
}

export function crlDistributionPointsExtension(url: string): Der {
  const fullName = contextConstructed(0, contextPrimitive(6, ascii(url, 'CRL distribution point')));
  return extension(OID.crlDistributionPoints, false, sequence(sequence(contextConstructed(0, fullName))));
}

export function authorityInfoAccessExtension(ocspUrl: string): Der {
  const location = contextPrimitive(6, ascii(ocspUrl, 'OCSP location'));
  return extension(OID.authorityInfoAccess, false, sequence(sequence(oid(OID.ocsp), location)));
}

/** RFC 6960, 4.2.2.2.1: a responder's own short-lived certificate is not itself looked up. */
export function ocspNoCheckExtension(): Der {
  return extension(OID.ocspNoCheck, false, nullValue());
}

/** Errors: `input.invalid` for text that is not ASCII or an address that is none. */
export function subjectAltNameExtension(names: readonly SubjectAltName[]): Der {
  return extension(OID.subjectAltName, false, sequence(...names.map(generalName)));
}

function generalName(name: SubjectAltName): Der {
  switch (name.type) {
    case 'uri':
      return contextPrimitive(6, ascii(name.value, 'URI'));
    case 'dns':
      return contextPrimitive(2, ascii(name.value, 'DNS name'));
    case 'ip':
      return contextPrimitive(7, encodeIpAddress(name.value));
    default:
      return name satisfies never;
  }
}

function ascii(text: string, what: string): Uint8Array {
  if (!/^[\x21-\x7e]{1,255}$/.test(text)) {
    throw new CroupierError('input.invalid', `${what} must be 1 to 255 printable ASCII characters without spaces`);
  }
  return Buffer.from(text, 'latin1');
}

/** 4 or 16 octets. Errors: `input.invalid`. */
export function encodeIpAddress(address: string): Uint8Array {
  const family = isIP(address);
  if (family === 4) return Buffer.from(address.split('.').map(Number));
  if (family !== 6 || address.includes('%')) throw new CroupierError('input.invalid', `${address} is no IP address`);
  // The URL parser knows every way to write IPv6, and answers in the form of RFC 5952.
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const all = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

function decodeIpAddress(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join('.');
  if (octets.length !== 16) throw new CroupierError('der.malformed', 'malformed DER: an IP address of a wrong length');
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0)).toString(16));
  return groups.join(':');
}

function text(octets: Uint8Array): string {
  for (const octet of octets) {
    if (octet < 0x20 || octet > 0x7e)
      throw new CroupierError('der.malformed', 'malformed DER: a name is not an IA5String');
  }
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1');
}

function readHardwareSerial(otherName: Uint8Array): string | undefined {
  const fields = new DerReader(otherName);
  if (fields.oid('other name') !== OID.hardwareModuleName) return undefined;
  const module = new DerReader(fields.expect(0xa0, 'other name').content).sequence('hardware module name');
  module.oid('hardware type');
  return Buffer.from(module.octetString('hardware serial number')).toString('hex');
}

/** Reads the value of a subjectAltName extension. Errors: `der.malformed`. */
export function readSubjectAltNames(value: Uint8Array): SubjectAltNames {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  const ipAddresses: string[] = [];
  let hardwareSerial: string | undefined;
  let count = 0;
  const names = readSequence(value, 'subjectAltName');
  while (!names.done) {
    const { tag, content } = names.next();
    count += 1;
    if (count > MAXIMUM_NAMES) throw new CroupierError('der.malformed', 'malformed DER: too many alternative names');
    if (tag === 0x86) uris.push(text(content));
    else if (tag === 0x82) dnsNames.push(text(content));
    else if (tag === 0x87) ipAddresses.push(decodeIpAddress(content));
    else if (tag === 0xa0) hardwareSerial ??= readHardwareSerial(content);
  }
  return { uris, dnsNames, ipAddresses, hardwareSerial, count };
}

/** Reads the value of a keyUsage extension. Errors: `der.malformed`. */
export function readKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const reader = new DerReader(value);
  const { content } = reader.expect(0x03, 'keyUsage');
  reader.end('keyUsage');
  const [unused = 0, high = 0, low = 0] = content;
  if (content.length < 2 || content.length > 3 || unused > 7)
    throw new CroupierError('der.malformed', 'malformed DER: keyUsage');
  const bits = (high << 8) | low;
  return new Set(KEY_USAGES.filter((_, bit) => bits & (0x8000 >> bit)));
}

/** Reads the value of an extendedKeyUsage extension. Errors: `der.malformed`. */
export function readExtendedKeyUsage(value: Uint8Array): readonly string[] {
  const purposes: string[] = [];
  const reader = readSequence(value, 'extendedKeyUsage');
  while (!reader.done) purposes.push(reader.oid('extendedKeyUsage'));
  return purposes;
}

/** Reads the value of a basicConstraints extension. Errors: `der.malformed`. */
export function readBasicConstraints(value: Uint8Array): BasicConstraints {
  const reader = readSequence(value, 'basicConstraints');
  const ca = reader.peek() === 0x01 && reader.boolean('cA');
  const pathLength = reader.peek() === 0x02 ? reader.integer('path length') : undefined;
  reader.end('basicConstraints');
  return { ca, pathLength };
}

/** The keyIdentifier of an authorityKeyIdentifier extension, if it has one. Errors: `der.malformed`. */
export function readAuthorityKeyIdentifier(value: Uint8Array): Uint8Array | undefined {
  return readSequence(value, 'authorityKeyIdentifier').optional(0x80)?.content;
}

/** Reads the value of a subjectKeyIdentifier extension. Errors: `der.malformed`. */
export function readSubjectKeyIdentifier(value: Uint8Array): Uint8Array {
  const reader = new DerReader(value);
  const identifier = reader.octetString('subjectKeyIdentifier');
  reader.end('subjectKeyIdentifier');
  return identifier;
}
