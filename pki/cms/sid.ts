/** How CMS names a certificate: SignerIdentifier and RecipientIdentifier have the same two forms (RFC 5652, 5.3, 6.2). */
import { Buffer } from 'node:buffer';
import type { ParsedCertificate } from '#pki/certificate/parse.ts';
import { equalBytes } from '#pki/certificate/public-key.ts';
import type { DerReader } from '#pki/der/reader.ts';
import { sequence, unsignedInteger } from '#pki/der/writer.ts';

export type CertificateIdentifier =
  | { readonly kind: 'subjectKeyIdentifier'; readonly value: Uint8Array }
  /** The Name and the INTEGER, TLVs. */
  | { readonly kind: 'issuerAndSerialNumber'; readonly issuer: Uint8Array; readonly serialNumber: Uint8Array };

/** Reads the rest of an IssuerAndSerialNumber, whose SEQUENCE is open. */
export function readIssuerAndSerialNumber(reader: DerReader): CertificateIdentifier {
  const issuer = reader.expect(0x30, 'issuer').whole;
  const serialNumber = reader.expect(0x02, 'serial number').whole;
  reader.end('issuer and serial number');
  return { kind: 'issuerAndSerialNumber', issuer, serialNumber };
}

/** Reads a SignerIdentifier, or a RecipientIdentifier of a KeyTransRecipientInfo. */
export function readIdentifier(reader: DerReader): CertificateIdentifier {
  return reader.peek() === 0x80
    ? { kind: 'subjectKeyIdentifier', value: reader.next().content }
    : readIssuerAndSerialNumber(reader.sequence('issuer and serial number'));
}

/** What a certificate can be named by. */
export type CertificateNames = Pick<ParsedCertificate, 'issuer' | 'serialNumber' | 'subjectKeyIdentifier'>;

const serialNumberOf = ({ serialNumber }: CertificateNames): Uint8Array =>
  unsignedInteger(Buffer.from(serialNumber, 'hex'));

/** IssuerAndSerialNumber of a certificate, DER. */
export const issuerAndSerialNumber = (certificate: ParsedCertificate): Uint8Array =>
  sequence(certificate.issuer, serialNumberOf(certificate));

/** Whether `identifier` names this certificate. */
export function identifies(identifier: CertificateIdentifier, certificate: CertificateNames): boolean {
  if (identifier.kind === 'subjectKeyIdentifier') {
    const { subjectKeyIdentifier } = certificate;
    return subjectKeyIdentifier !== undefined && equalBytes(identifier.value, subjectKeyIdentifier);
  }
  return (
    equalBytes(identifier.issuer, certificate.issuer) &&
    equalBytes(identifier.serialNumber, serialNumberOf(certificate))
  );
}
