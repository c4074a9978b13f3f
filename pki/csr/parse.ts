/** Reading PKCS#10 certification requests (RFC 2986). */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { readSubjectAltNames, type SubjectAltNames } from '#pki/certificate/extensions.ts';
import { parseName, type ParsedName } from '#pki/certificate/name.ts';

/** All byte fields are views into `der`. */
export interface ParsedCsr {
  readonly der: Uint8Array;
  /** CertificationRequestInfo, DER: what the signature covers. */
  readonly info: Uint8Array;
  /** Name, DER; it may be empty. */
  readonly subject: Uint8Array;
  readonly subjectName: ParsedName;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** AlgorithmIdentifier of the signature, DER. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** RFC 2985, 5.4.1; EST binds the TLS channel with it (RFC 7030, 3.5). */
  readonly challengePassword: string | undefined;
  /** The Extensions of the extensionRequest attribute, DER. */
  readonly extensionRequest: Uint8Array | undefined;
  /** The alternative names asked for. They are a wish, which the inventory overrules. */
  readonly subjectAltNames: SubjectAltNames;
}

/** A request with an RSA-4096 key and a handful of extensions has under 2 KiB. */
export const MAXIMUM_CSR = 16 * 1024;
const MAXIMUM_ATTRIBUTES = 32;
const MAXIMUM_EXTENSIONS = 32;
const NO_NAMES: SubjectAltNames = { uris: [], dnsNames: [], ipAddresses: [], hardwareSerial: undefined, count: 0 };

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', `malformed DER: ${what}`);

/** Attribute values by type; an attribute that Croupier reads must have exactly one value. */
function readAttributes(content: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const attributes = new Map<string, Uint8Array>();
  const list = new DerReader(content);
  for (let count = 0; !list.done; count += 1) {
    if (count >= MAXIMUM_ATTRIBUTES) throw malformed('too many attributes');
    const fields = list.sequence('attribute');
    const type = fields.oid('attribute type');
    const values = fields.set('attribute values');
    fields.end('attribute');
    const value = values.next().whole;
    if (type !== OID.challengePassword && type !== OID.extensionRequest) continue;
    values.end('attribute values');
    if (attributes.has(type)) throw malformed(`the attribute ${type} appears twice`);
    attributes.set(type, value);
  }
  return attributes;
}

/** RFC 2985, 5.4.1: PrintableString or UTF8String; some clients send IA5String. At most 255 characters. */
function readChallengePassword(value: Uint8Array): string {
  const { tag, content } = new DerReader(value).next();
  if ((tag !== 0x0c && tag !== 0x13 && tag !== 0x16) || content.length > 255) throw malformed('challengePassword');
  return Buffer.from(content).toString('utf8');
}

function readRequestedNames(extensionRequest: Uint8Array): SubjectAltNames {
  const list = readSequence(extensionRequest, 'extensionRequest');
  for (let count = 0; !list.done; count += 1) {
    if (count >= MAXIMUM_EXTENSIONS) throw malformed('too many extensions');
    const fields = list.sequence('extension');
    const id = fields.oid('extension');
    fields.optional(0x01);
    const value = fields.octetString('extension value');
    fields.end('extension');
    if (id === OID.subjectAltName) return readSubjectAltNames(value);
  }
  return NO_NAMES;
}

function read(der: Uint8Array): ParsedCsr {
  const outer = readSequence(der, 'certification request');
  const info = outer.expect(0x30, 'certification request info');
  const signatureAlgorithm = outer.expect(0x30, 'signature algorithm').whole;
  const signature = outer.bitString('signature');
  outer.end('certification request');

  const fields = new DerReader(info.content);
  if (fields.integer('version') !== 0) throw malformed('the version of the request is not 1');
  const subject = fields.expect(0x30, 'subject').whole;
  const spki = fields.expect(0x30, 'public key').whole;
  // Attributes are mandatory, but some clients leave an empty set out.
  const attributes = readAttributes(fields.optional(0xa0)?.content ?? Buffer.alloc(0));
  fields.end('certification request info');

  const challenge = attributes.get(OID.challengePassword);
  const extensionRequest = attributes.get(OID.extensionRequest);
  return {
    der,
    info: info.whole,
    subject,
    subjectName: parseName(subject),
    spki,
    signatureAlgorithm,
    signature,
    challengePassword: challenge === undefined ? undefined : readChallengePassword(challenge),
    extensionRequest,
    subjectAltNames: extensionRequest === undefined ? NO_NAMES : readRequestedNames(extensionRequest),
  };
}

/**
 * Reads a request, DER. Nothing is verified: call `verifyProofOfPossession` and `checkPublicKey` before believing it.
 * Errors: `csr.malformed`; `input.too-large` beyond 16 KiB.
 */
export function parseCsr(der: Uint8Array): ParsedCsr {
  if (der.length > MAXIMUM_CSR) {
    throw new CroupierError(
      'input.too-large',
      `a certificate signing request of ${der.length} bytes exceeds ${MAXIMUM_CSR}`,
    );
  }
  try {
    return read(der);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CroupierError('csr.malformed', `the certificate signing request cannot be parsed: ${reason}`, {
      cause: error,
    });
  }
}
