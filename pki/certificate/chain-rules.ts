/** The rules for each certificate of a path (RFC 5280, 6.1.3 and 6.1.4), apart from the search for one. */
import { Buffer } from 'node:buffer';
import { X509Certificate, type KeyObject } from 'node:crypto';
import { readCertificate, type CertificateFields } from '#pki/der/certificate.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';

/** A certificate that may belong to a path, parsed both ways. */
export interface Candidate {
  readonly x509: X509Certificate;
  readonly fields: CertificateFields;
  readonly der: Uint8Array;
}

const PROCESSED_EXTENSIONS: ReadonlySet<string> = new Set([
  OID.basicConstraints,
  OID.keyUsage,
  OID.extendedKeyUsage,
  OID.subjectAltName,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
]);

const SIGNATURE_ALGORITHMS: ReadonlySet<string> = new Set([
  OID.ecdsaWithSha256,
  OID.ecdsaWithSha384,
  OID.ecdsaWithSha512,
  OID.sha256WithRsa,
  OID.sha384WithRsa,
  OID.sha512WithRsa,
  OID.ed25519,
]);

const KEY_USAGE_DIGITAL_SIGNATURE = 0x80;
const KEY_USAGE_KEY_CERT_SIGN = 0x04;

export const untrusted = (what: string): CroupierError => new CroupierError('certificate.untrusted', what);

/** Errors: `certificate.malformed`. */
export function candidate(der: Uint8Array): Candidate {
  try {
    return { x509: new X509Certificate(der), fields: readCertificate(der), der };
  } catch (error) {
    throw new CroupierError('certificate.malformed', 'a certificate of the chain cannot be parsed', { cause: error });
  }
}

export const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

export const nameOf = ({ x509 }: Candidate): string => x509.subject.replaceAll('\n', ', ');

/** First octet of the KeyUsage bits; undefined if the extension is absent. */
function keyUsage({ extensions }: CertificateFields): number | undefined {
  const extension = extensions.get(OID.keyUsage);
  if (extension === undefined) return undefined;
  const { content } = new DerReader(extension.value).expect(0x03, 'key usage');
  return content[1] ?? 0;
}

function basicConstraints({ extensions }: CertificateFields): { ca: boolean; pathLength: number } {
  const extension = extensions.get(OID.basicConstraints);
  if (extension === undefined) return { ca: false, pathLength: 0 };
  const reader = readSequence(extension.value, 'basic constraints');
  const ca = reader.peek() === 0x01 && reader.boolean('cA');
  const pathLength = reader.peek() === 0x02 ? reader.integer('pathLenConstraint') : Infinity;
  reader.end('basic constraints');
  return { ca, pathLength };
}

function extendedKeyUsages({ extensions }: CertificateFields): ReadonlySet<string> | undefined {
  const extension = extensions.get(OID.extendedKeyUsage);
  if (extension === undefined) return undefined;
  const usages = new Set<string>();
  const reader = readSequence(extension.value, 'extended key usage');
  while (!reader.done) usages.add(reader.oid('extended key usage'));
  return usages;
}

function isAllowedKey(key: KeyObject): boolean {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec') return namedCurve === 'prime256v1' || namedCurve === 'secp384r1';
  if (key.asymmetricKeyType === 'rsa') return modulusLength >= 2048 && modulusLength <= 8192;
  return key.asymmetricKeyType === 'ed25519';
}

/** The public key, or undefined if its type or size is not allowed: P-256, P-384, RSA of 2048 to 8192 bits, Ed25519. */
export function allowedKey({ x509 }: Candidate): KeyObject | undefined {
  try {
    const key = x509.publicKey;
    return isAllowedKey(key) ? key : undefined;
  } catch {
    return undefined;
  }
}

/** What holds for every certificate of a path. */
function checkCommon(one: Candidate): void {
  for (const [id, { critical }] of one.fields.extensions) {
    if (critical && !PROCESSED_EXTENSIONS.has(id)) {
      throw untrusted(`${nameOf(one)} has the critical extension ${id}, which is not understood`);
    }
  }
  if (!SIGNATURE_ALGORITHMS.has(one.fields.signatureAlgorithm)) {
    throw untrusted(
      `${nameOf(one)} is signed with the algorithm ${one.fields.signatureAlgorithm}, which is not allowed`,
    );
  }
  if (allowedKey(one) === undefined) throw untrusted(`${nameOf(one)} has a key that is not allowed`);
}

function checkTime(one: Candidate, at: Date): void {
  if (at < one.x509.validFromDate) {
    throw new CroupierError(
      'certificate.not-yet-valid',
      `${nameOf(one)} is not valid before ${one.x509.validFromDate.toISOString()}`,
    );
  }
  if (at > one.x509.validToDate) {
    throw new CroupierError('certificate.expired', `${nameOf(one)} expired at ${one.x509.validToDate.toISOString()}`);
  }
}

function checkLeaf(leaf: Candidate, extendedKeyUsage: string | undefined): void {
  checkCommon(leaf);
  if (basicConstraints(leaf.fields).ca) {
    throw new CroupierError('certificate.purpose-refused', `${nameOf(leaf)} is a CA, not an end entity`);
  }
  if (((keyUsage(leaf.fields) ?? 0) & KEY_USAGE_DIGITAL_SIGNATURE) === 0) {
    throw new CroupierError('certificate.purpose-refused', `${nameOf(leaf)} may not sign: digitalSignature is missing`);
  }
  if (extendedKeyUsage !== undefined && !extendedKeyUsages(leaf.fields)?.has(extendedKeyUsage)) {
    throw new CroupierError(
      'certificate.purpose-refused',
      `${nameOf(leaf)} lacks the extended key usage ${extendedKeyUsage}`,
    );
  }
}

/** `intermediatesBelow`: CA certificates between this one and the leaf that are not self-issued. */
function checkIssuer(issuer: Candidate, intermediatesBelow: number): void {
  checkCommon(issuer);
  const { ca, pathLength } = basicConstraints(issuer.fields);
  if (!ca) throw untrusted(`${nameOf(issuer)} issued a certificate but is not a CA`);
  if (intermediatesBelow > pathLength) throw untrusted(`${nameOf(issuer)} allows at most ${pathLength} CAs below it`);
  if (((keyUsage(issuer.fields) ?? 0) & KEY_USAGE_KEY_CERT_SIGN) === 0) {
    throw untrusted(`${nameOf(issuer)} issued a certificate but lacks keyCertSign`);
  }
}

/** Extended key usages of an issuer bound those of the leaf, as OpenSSL and the public CAs' rules have it. */
function checkNesting(issuer: Candidate, leafUsages: ReadonlySet<string> | undefined): void {
  const allowed = extendedKeyUsages(issuer.fields);
  if (allowed === undefined || allowed.has(OID.anyExtendedKeyUsage)) return;
  if (leafUsages === undefined || ![...leafUsages].every((usage) => allowed.has(usage))) {
    throw new CroupierError(
      'certificate.purpose-refused',
      `${nameOf(issuer)} may not issue certificates of these extended key usages`,
    );
  }
}

const isSelfIssued = ({ fields }: Candidate): boolean => equal(fields.subject, fields.issuer);

/**
 * Checks all rules but names and signatures over a path, leaf first, anchor last.
 * Errors: those of `validateChain`, and `der.malformed` for an extension that cannot be read.
 */
export function checkPath(
  path: readonly Candidate[],
  at: Date | 'ignore-time',
  extendedKeyUsage: string | undefined,
): void {
  const [leaf, ...issuers] = path;
  if (leaf === undefined) throw untrusted('the path is empty');
  checkLeaf(leaf, extendedKeyUsage);
  const leafUsages = extendedKeyUsages(leaf.fields);
  let intermediatesBelow = 0;
  for (const issuer of issuers) {
    checkIssuer(issuer, intermediatesBelow);
    const isRoot = issuer === issuers.at(-1) && isSelfIssued(issuer);
    if (!isRoot) checkNesting(issuer, leafUsages);
    if (!isSelfIssued(issuer)) intermediatesBelow += 1;
  }
  // Last, so that a certificate that would never be trusted is not reported as merely expired.
  if (at !== 'ignore-time') for (const one of path) checkTime(one, at);
}
