/** How CMS names a certificate: SignerIdentifier and RecipientIdentifier have the same two forms (RFC 5652, 5.3, 6.2). */
import { Buffer } from 'node:buffer';
import { readCertificate, type CertificateFields } from '#pki/der/certificate.ts';
import type { DerReader } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';

export type CertificateIdentifier =
  | { readonly kind: 'subjectKeyIdentifier'; readonly value: Uint8Array }
  /** `issuer`: the Name, TLV; `serialNumber`: content octets of the INTEGER. */
  | { readonly kind: 'issuerAndSerialNumber'; readonly issuer: Uint8Array; readonly serialNumber: Uint8Array };

/** Reads the rest of an IssuerAndSerialNumber, whose SEQUENCE is open. */
export function readIssuerAndSerialNumber(reader: DerReader): CertificateIdentifier {
  const issuer = reader.expect(0x30, 'issuer').whole;
  const serialNumber = reader.integerBytes('serial number');
  reader.end('issuer and serial number');
  return { kind: 'issuerAndSerialNumber', issuer, serialNumber };
}

/** Reads a SignerIdentifier, or a RecipientIdentifier of a KeyTransRecipientInfo. */
export function readIdentifier(reader: DerReader): CertificateIdentifier {
  return reader.peek() === 0x80
    ? { kind: 'subjectKeyIdentifier', value: reader.next().content }
    : readIssuerAndSerialNumber(reader.sequence('issuer and serial number'));
}

/** Whether `identifier` names this certificate. */
export function identifies(identifier: CertificateIdentifier, certificate: CertificateFields): boolean {
  if (identifier.kind === 'subjectKeyIdentifier') {
    const { subjectKeyIdentifier } = certificate;
    return subjectKeyIdentifier !== undefined && Buffer.compare(identifier.value, subjectKeyIdentifier) === 0;
  }
  return (
    Buffer.compare(identifier.serialNumber, certificate.serialNumber) === 0 &&
    Buffer.compare(identifier.issuer, certificate.issuer) === 0
  );
}

/** `readCertificate` for a certificate that the caller vouches for. Errors: `certificate.malformed`. */
export function readKnownCertificate(der: Uint8Array): CertificateFields {
  try {
    return readCertificate(der);
  } catch (error) {
    throw new CroupierError('certificate.malformed', 'the certificate cannot be parsed', { cause: error });
  }
}
