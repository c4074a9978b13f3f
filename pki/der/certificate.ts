/**
 * The fields of an X.509 certificate that CMS and path validation need and that node:crypto does not give as bytes:
 * names and serial number as encoded, extensions with their critical flag. Reads; verifies nothing.
 */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from './oid.ts';
import { DerReader, readSequence } from './reader.ts';

export interface CertificateExtension {
  readonly critical: boolean;
  /** Content octets of extnValue: the DER of the extension itself. */
  readonly value: Uint8Array;
}

export interface CertificateFields {
  /** Content octets of the serial number INTEGER. */
  readonly serialNumber: Uint8Array;
  /** Name TLVs. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** SubjectPublicKeyInfo TLV. */
  readonly spki: Uint8Array;
  /** Object identifier of the algorithm that the issuer signed with. */
  readonly signatureAlgorithm: string;
  readonly extensions: ReadonlyMap<string, CertificateExtension>;
  readonly subjectKeyIdentifier: Uint8Array | undefined;
}

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', `malformed certificate: ${what}`);

function readExtensions(explicit: Uint8Array): ReadonlyMap<string, CertificateExtension> {
  const extensions = new Map<string, CertificateExtension>();
  const list = readSequence(explicit, 'extensions');
  while (!list.done) {
    const extension = list.sequence('extension');
    const id = extension.oid('extension identifier');
    const critical = extension.peek() === 0x01 && extension.boolean('critical');
    const value = extension.octetString('extension value');
    extension.end('extension');
    if (extensions.has(id)) throw malformed(`extension ${id} occurs twice`);
    extensions.set(id, { critical, value });
  }
  return extensions;
}

function readKeyIdentifier(extension: CertificateExtension | undefined): Uint8Array | undefined {
  if (extension === undefined) return undefined;
  const reader = new DerReader(extension.value);
  const identifier = reader.octetString('subject key identifier');
  reader.end('subject key identifier');
  return identifier;
}

/** Reads a certificate, DER (RFC 5280, 4.1). All results are views into `der`. Errors: `der.malformed`. */
export function readCertificate(der: Uint8Array): CertificateFields {
  const certificate = readSequence(der, 'certificate');
  const tbs = certificate.sequence('tbsCertificate');
  tbs.optional(0xa0);
  const serialNumber = tbs.integerBytes('serial number');
  const innerAlgorithm = tbs.expect(0x30, 'signature').whole;
  const issuer = tbs.expect(0x30, 'issuer').whole;
  tbs.expect(0x30, 'validity');
  const subject = tbs.expect(0x30, 'subject').whole;
  const spki = tbs.expect(0x30, 'subject public key info').whole;
  tbs.optional(0x81);
  tbs.optional(0x82);
  const explicit = tbs.optional(0xa3);
  tbs.end('tbsCertificate');
  const algorithm = certificate.expect(0x30, 'signature algorithm');
  if (Buffer.compare(innerAlgorithm, algorithm.whole) !== 0) throw malformed('it names two signature algorithms');
  certificate.bitString('signature');
  certificate.end('certificate');
  const extensions: CertificateFields['extensions'] =
    explicit === undefined ? new Map<string, CertificateExtension>() : readExtensions(explicit.content);
  return {
    serialNumber,
    issuer,
    subject,
    spki,
    signatureAlgorithm: new DerReader(algorithm.content).oid('signature algorithm'),
    extensions,
    subjectKeyIdentifier: readKeyIdentifier(extensions.get(OID.subjectKeyIdentifier)),
  };
}
