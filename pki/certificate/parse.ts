/** Reading X.509 certificates (RFC 5280, 4.1) field by field, fast and strict. */
import { hash } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import {
  readAuthorityKeyIdentifier,
  readBasicConstraints,
  readExtendedKeyUsage,
  readKeyUsage,
  readSubjectAltNames,
  readSubjectKeyIdentifier,
  type BasicConstraints,
  type KeyUsage,
  type SubjectAltNames,
} from './extensions.ts';
import { parseName, type ParsedName } from './name.ts';
import { publicKeyFingerprint } from './public-key.ts';

export interface Extension {
  readonly critical: boolean;
  /** Content of the OCTET STRING. */
  readonly value: Uint8Array;
}

/** All byte fields are views into `der`. */
export interface ParsedCertificate {
  readonly der: Uint8Array;
  /** TBSCertificate, DER: what the signature covers. */
  readonly tbs: Uint8Array;
  /** Lower-case hex of the magnitude, whole octets, no leading zero octet. */
  readonly serialNumber: string;
  /** AlgorithmIdentifier of the signature, DER. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** Name, DER, verbatim. */
  readonly issuer: Uint8Array;
  /** Name, DER, verbatim. */
  readonly subject: Uint8Array;
  readonly subjectName: ParsedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** SHA-256 over the SubjectPublicKeyInfo, lower-case hex. */
  readonly spkiSha256: string;
  /** By object identifier, in the order of the certificate. */
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly subjectAltNames: SubjectAltNames;
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly basicConstraints: BasicConstraints | undefined;
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  readonly authorityKeyIdentifier: Uint8Array | undefined;
}

/** Larger than any certificate with RSA-4096 or ML-DSA keys. */
const MAXIMUM_CERTIFICATE = 32 * 1024;
const MAXIMUM_EXTENSIONS = 32;
const NO_NAMES: SubjectAltNames = { uris: [], dnsNames: [], ipAddresses: [], hardwareSerial: undefined, count: 0 };

export type TbsFields = Omit<ParsedCertificate, 'der' | 'signature'>;

function readExtensions(tbs: DerReader): Map<string, Extension> {
  const extensions = new Map<string, Extension>();
  const explicit = tbs.optional(0xa3);
  if (explicit === undefined) return extensions;
  const list = readSequence(explicit.content, 'extensions');
  while (!list.done) {
    const fields = list.sequence('extension');
    const id = fields.oid('extension');
    // DER leaves out the default (false); some manufacturers write it, which harms nobody.
    const critical = fields.peek() === 0x01 && fields.boolean('critical');
    const value = fields.octetString('extension value');
    fields.end('extension');
    if (extensions.has(id))
      throw new CroupierError('der.malformed', `malformed DER: the extension ${id} appears twice`);
    if (extensions.size >= MAXIMUM_EXTENSIONS)
      throw new CroupierError('der.malformed', 'malformed DER: too many extensions');
    extensions.set(id, { critical, value });
  }
  return extensions;
}

function serialHex(content: Uint8Array): string {
  const start = content.length > 1 && content[0] === 0 ? 1 : 0;
  return Buffer.from(content.subarray(start)).toString('hex');
}

/** Applies `read` to the value of an extension if the certificate has it. */
function decode<T>(
  extensions: ReadonlyMap<string, Extension>,
  id: string,
  read: (value: Uint8Array) => T,
): T | undefined {
  const found = extensions.get(id);
  return found === undefined ? undefined : read(found.value);
}

/** The two fields of a TBSCertificate (DER) that an invariant needs, without reading the others. Errors: `der.malformed`. */
export function readTbsKeyAndAlgorithm(tbs: Uint8Array): Pick<TbsFields, 'signatureAlgorithm' | 'spki'> {
  const fields = readSequence(tbs, 'TBSCertificate');
  fields.expect(0xa0, 'version');
  fields.expect(0x02, 'serial number');
  const signatureAlgorithm = fields.expect(0x30, 'signature algorithm').whole;
  fields.expect(0x30, 'issuer');
  fields.expect(0x30, 'validity');
  fields.expect(0x30, 'subject');
  return { signatureAlgorithm, spki: fields.expect(0x30, 'public key').whole };
}

/**
 * What a version 3 certificate (DER) is named by, without reading the rest of it. Errors: `der.malformed`.
 */
export function readCertificateNames(
  der: Uint8Array,
): Pick<ParsedCertificate, 'issuer' | 'serialNumber' | 'subjectKeyIdentifier'> {
  const fields = readSequence(der, 'certificate').sequence('TBSCertificate');
  fields.expect(0xa0, 'version');
  const serialNumber = serialHex(fields.integerBytes('serial number'));
  fields.expect(0x30, 'signature algorithm');
  const issuer = fields.expect(0x30, 'issuer').whole;
  for (const what of ['validity', 'subject', 'public key']) fields.expect(0x30, what);
  fields.optional(0x81);
  fields.optional(0x82);
  const subjectKeyIdentifier = decode(readExtensions(fields), OID.subjectKeyIdentifier, readSubjectKeyIdentifier);
  return { issuer, serialNumber, subjectKeyIdentifier };
}

/** Reads a TBSCertificate, DER. Errors: `der.malformed`. */
export function parseTbs(tbs: Uint8Array): TbsFields {
  const fields = readSequence(tbs, 'TBSCertificate');
  const version = new DerReader(fields.expect(0xa0, 'version').content).integer('version');
  if (version !== 2) throw new CroupierError('der.malformed', 'malformed DER: the certificate is not of version 3');
  const serial = fields.integerBytes('serial number');
  const signatureAlgorithm = fields.expect(0x30, 'signature algorithm').whole;
  const issuer = fields.expect(0x30, 'issuer').whole;
  const validity = fields.sequence('validity');
  const notBefore = validity.time('notBefore');
  const notAfter = validity.time('notAfter');
  validity.end('validity');
  const subject = fields.expect(0x30, 'subject').whole;
  const spki = fields.expect(0x30, 'public key').whole;
  fields.optional(0x81);
  fields.optional(0x82);
  const extensions = readExtensions(fields);
  fields.end('TBSCertificate');
  return {
    tbs,
    serialNumber: serialHex(serial),
    signatureAlgorithm,
    issuer,
    subject,
    subjectName: parseName(subject),
    notBefore,
    notAfter,
    spki,
    spkiSha256: publicKeyFingerprint(spki),
    extensions,
    subjectAltNames: decode(extensions, OID.subjectAltName, readSubjectAltNames) ?? NO_NAMES,
    keyUsage: decode(extensions, OID.keyUsage, readKeyUsage),
    extendedKeyUsage: decode(extensions, OID.extendedKeyUsage, readExtendedKeyUsage),
    basicConstraints: decode(extensions, OID.basicConstraints, readBasicConstraints),
    subjectKeyIdentifier: decode(extensions, OID.subjectKeyIdentifier, readSubjectKeyIdentifier),
    authorityKeyIdentifier: decode(extensions, OID.authorityKeyIdentifier, readAuthorityKeyIdentifier),
  };
}

/**
 * Reads a version 3 certificate, DER. Nothing is verified: neither signature nor validity nor who issued it; unknown
 * extensions, critical ones too, are listed and left to the caller. Errors: `certificate.malformed`, `input.too-large`.
 */
export function parseCertificate(der: Uint8Array): ParsedCertificate {
  if (der.length > MAXIMUM_CERTIFICATE) {
    throw new CroupierError('input.too-large', `a certificate of ${der.length} bytes exceeds ${MAXIMUM_CERTIFICATE}`);
  }
  try {
    const outer = readSequence(der, 'certificate');
    const tbs = parseTbs(outer.expect(0x30, 'TBSCertificate').whole);
    const algorithm = outer.expect(0x30, 'signature algorithm').whole;
    if (Buffer.compare(algorithm, tbs.signatureAlgorithm) !== 0) {
      throw new CroupierError('certificate.malformed', 'the two signature algorithms of the certificate differ');
    }
    const signature = outer.bitString('signature');
    outer.end('certificate');
    return { ...tbs, der, signature };
  } catch (error) {
    if (error instanceof CroupierError && error.code === 'der.malformed') {
      throw new CroupierError('certificate.malformed', `the certificate cannot be parsed: ${error.message}`, {
        cause: error,
      });
    }
    throw asCroupierError(error, 'certificate.malformed');
  }
}

/** SHA-256 over the certificate, DER, as lower-case hex. */
export function certificateFingerprint(der: Uint8Array): string {
  return hash('sha256', der, 'hex');
}
