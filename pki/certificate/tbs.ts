/** Encoding the TBSCertificate (RFC 5280, 4.1.2). It trusts its input; `lintTbs` checks the outcome. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { contextConstructed, integer, sequence, time, unsignedInteger, type Der } from '#pki/der/writer.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  basicConstraintsExtension,
  crlDistributionPointsExtension,
  extendedKeyUsageExtension,
  keyUsageExtension,
  ocspNoCheckExtension,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
  type SubjectAltName,
} from './extensions.ts';
import type { Issuer } from './issuer.ts';
import type { TbsFields } from './parse.ts';
import { encodeName, type DistinguishedName } from './name.ts';
import { keyUsageOf, type CertificateProfile } from './profile.ts';
import { algorithmOfPublicKey, keyIdentifier, parsePublicKey } from './public-key.ts';
import { isSerialNumber } from './serial-number.ts';
import { signatureAlgorithm } from './signature-algorithm.ts';

export interface TbsRequest {
  readonly profile: CertificateProfile;
  /** `self` for the root alone. */
  readonly issuer: Issuer | 'self';
  /** From `serialNumberFrom`. */
  readonly serialNumber: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subject: DistinguishedName;
  /** SubjectPublicKeyInfo of the subject, DER. */
  readonly spki: Uint8Array;
  readonly subjectAltNames?: readonly SubjectAltName[];
  /** URL of the CRL. */
  readonly crlUrl?: string;
  /** URL of the OCSP responder. */
  readonly ocspUrl?: string;
}

/** The algorithm of the subject's key. Errors: `csr.key-type-refused` if Croupier does not know it. */
export function subjectKeyAlgorithm(request: Pick<TbsRequest, 'spki'>): KeyAlgorithm {
  const key = parsePublicKey(request.spki);
  const algorithm = algorithmOfPublicKey(key);
  if (algorithm === undefined) {
    const what =
      key.type === 'other' ? key.description : key.type === 'RSA' ? `RSA with ${key.modulusBits} bits` : key.type;
    throw new CroupierError('csr.key-type-refused', `no certificate is issued for a key of ${what}`);
  }
  return algorithm;
}

const VERSION_3 = contextConstructed(0, integer(2));

function extensions(request: TbsRequest, algorithm: KeyAlgorithm): Der {
  const { profile, issuer, subjectAltNames = [] } = request;
  const identifier = keyIdentifier(request.spki);
  const list: Der[] = [];
  if (profile.pathLength !== undefined) list.push(basicConstraintsExtension(profile.pathLength));
  list.push(keyUsageExtension(keyUsageOf(profile, algorithm)));
  if (profile.extendedKeyUsage !== undefined) list.push(extendedKeyUsageExtension(profile.extendedKeyUsage));
  if (subjectAltNames.length > 0) list.push(subjectAltNameExtension(subjectAltNames));
  list.push(subjectKeyIdentifierExtension(identifier));
  list.push(authorityKeyIdentifierExtension(issuer === 'self' ? identifier : issuer.keyIdentifier));
  if (request.crlUrl !== undefined) list.push(crlDistributionPointsExtension(request.crlUrl));
  if (request.ocspUrl !== undefined) list.push(authorityInfoAccessExtension(request.ocspUrl));
  if (profile.ocspNoCheck) list.push(ocspNoCheckExtension());
  return contextConstructed(3, sequence(...list));
}

/**
 * The TBSCertificate, DER, that record and signature are about. Deterministic: equal requests give equal bytes.
 * Errors: `input.invalid` for values that have no encoding, `csr.key-type-refused`, `der.malformed` for the SPKI.
 */
export function buildTbs(request: TbsRequest): Uint8Array {
  const { issuer, subject, spki } = request;
  if (!isSerialNumber(request.serialNumber)) {
    throw new CroupierError('input.invalid', 'the serial number is not one that serialNumberFrom makes');
  }
  const algorithm = subjectKeyAlgorithm(request);
  const subjectName = encodeName(subject);
  return sequence(
    VERSION_3,
    unsignedInteger(request.serialNumber),
    signatureAlgorithm(issuer === 'self' ? algorithm : issuer.algorithm),
    issuer === 'self' ? subjectName : issuer.name,
    sequence(time(request.notBefore), time(request.notAfter)),
    subjectName,
    spki,
    extensions(request, algorithm),
  );
}

/** URL of the CRL in a TBSCertificate that `buildTbs` made; undefined if it has none. Errors: `der.malformed`. */
export function crlUrlOf(fields: Pick<TbsFields, 'extensions'>): string | undefined {
  const points = fields.extensions.get(OID.crlDistributionPoints);
  if (points === undefined) return undefined;
  const point = readSequence(points.value, 'CRL distribution points').sequence('CRL distribution point');
  const name = new DerReader(point.expect(0xa0, 'CRL distribution point').content);
  const uri = new DerReader(name.expect(0xa0, 'name of the CRL').content).expect(0x86, 'URL of the CRL').content;
  return Buffer.from(uri).toString('latin1');
}
