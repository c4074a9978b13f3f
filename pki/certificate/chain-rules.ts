/** The rules for each certificate of a path (RFC 5280, 6.1.3 and 6.1.4), apart from the search for one. */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
import { parseCertificate, type ParsedCertificate } from './parse.ts';
import { equalBytes } from './public-key.ts';
import { isAcceptedSignatureAlgorithm } from './signature-algorithm.ts';

/** A certificate that may belong to a path, parsed both ways. */
export interface Candidate {
  readonly x509: X509Certificate;
  readonly fields: ParsedCertificate;
}

const PROCESSED_EXTENSIONS: ReadonlySet<string> = new Set([
  OID.basicConstraints,
  OID.keyUsage,
  OID.extendedKeyUsage,
  OID.subjectAltName,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
]);

export const untrusted = (what: string): CroupierError => new CroupierError('certificate.untrusted', what);

/** Errors: `certificate.malformed`. */
export function candidate(der: Uint8Array): Candidate {
  const fields = parseCertificate(der);
  try {
    return { x509: new X509Certificate(der), fields };
  } catch (error) {
    throw new CroupierError('certificate.malformed', 'a certificate of the chain cannot be parsed', { cause: error });
  }
}

export const nameOf = ({ fields }: Candidate): string =>
  `the certificate of ${JSON.stringify(fields.subjectName.commonName ?? fields.serialNumber)}`;

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
  if (!isAcceptedSignatureAlgorithm(one.fields.signatureAlgorithm)) {
    throw untrusted(`${nameOf(one)} is signed with an algorithm that is not accepted`);
  }
  if (allowedKey(one) === undefined) throw untrusted(`${nameOf(one)} has a key that is not allowed`);
}

function checkTime(one: Candidate, at: Date): void {
  const { notBefore, notAfter } = one.fields;
  if (at < notBefore) {
    throw new CroupierError(
      'certificate.not-yet-valid',
      `${nameOf(one)} is not valid before ${notBefore.toISOString()}`,
    );
  }
  if (at > notAfter) {
    throw new CroupierError('certificate.expired', `${nameOf(one)} expired at ${notAfter.toISOString()}`);
  }
}

function checkLeaf(leaf: Candidate, extendedKeyUsage: string | undefined): void {
  checkCommon(leaf);
  if (leaf.fields.basicConstraints?.ca === true) {
    throw new CroupierError('certificate.purpose-refused', `${nameOf(leaf)} is a CA, not an end entity`);
  }
  if (!leaf.fields.keyUsage?.has('digitalSignature')) {
    throw new CroupierError('certificate.purpose-refused', `${nameOf(leaf)} may not sign: digitalSignature is missing`);
  }
  if (extendedKeyUsage !== undefined && !leaf.fields.extendedKeyUsage?.includes(extendedKeyUsage)) {
    throw new CroupierError(
      'certificate.purpose-refused',
      `${nameOf(leaf)} lacks the extended key usage ${extendedKeyUsage}`,
    );
  }
}

/** `intermediatesBelow`: CA certificates between this one and the leaf that are not self-issued. */
function checkIssuer(issuer: Candidate, intermediatesBelow: number): void {
  checkCommon(issuer);
  const { ca = false, pathLength = Infinity } = issuer.fields.basicConstraints ?? {};
  if (!ca) throw untrusted(`${nameOf(issuer)} issued a certificate but is not a CA`);
  if (intermediatesBelow > pathLength) throw untrusted(`${nameOf(issuer)} allows at most ${pathLength} CAs below it`);
  if (!issuer.fields.keyUsage?.has('keyCertSign')) {
    throw untrusted(`${nameOf(issuer)} issued a certificate but lacks keyCertSign`);
  }
}

/** Extended key usages of an issuer bound those of the leaf, as OpenSSL and the public CAs' rules have it. */
function checkNesting(issuer: Candidate, leafUsages: readonly string[] | undefined): void {
  const allowed = issuer.fields.extendedKeyUsage;
  if (allowed === undefined || allowed.includes(OID.anyExtendedKeyUsage)) return;
  if (leafUsages === undefined || !leafUsages.every((usage) => allowed.includes(usage))) {
    throw new CroupierError(
      'certificate.purpose-refused',
      `${nameOf(issuer)} may not issue certificates of these extended key usages`,
    );
  }
}

const isSelfIssued = ({ fields }: Candidate): boolean => equalBytes(fields.subject, fields.issuer);

/**
 * Checks all rules but names and signatures over a path, leaf first, anchor last.
 * Errors: those of `validateChain`.
 */
export function checkPath(
  path: readonly Candidate[],
  at: Date | 'ignore-time',
  extendedKeyUsage: string | undefined,
): void {
  const [leaf, ...issuers] = path;
  if (leaf === undefined) throw untrusted('the path is empty');
  checkLeaf(leaf, extendedKeyUsage);
  const leafUsages = leaf.fields.extendedKeyUsage;
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
