/** Checks of a CA certificate that was signed elsewhere, before anybody is told to trust it. */
import { Buffer } from 'node:buffer';
import { X509Certificate } from 'node:crypto';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { readIssuer, type Issuer } from '#pki/certificate/issuer.ts';
import { lintProblems } from '#pki/certificate/lint-rules.ts';
import type { DistinguishedName } from '#pki/certificate/name.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { intermediateSubject, type IntermediateName } from './intermediate.ts';

const mismatch = (what: string): CroupierError => new CroupierError('authority.certificate-mismatch', what);

interface Expected {
  readonly kind: 'root' | IntermediateName['kind'];
  readonly issuer: Issuer | 'self';
  readonly subject: DistinguishedName;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly now: Date;
}

/** Every rule of the profile, the signature, and the time. */
function check(certificate: Uint8Array, { kind, issuer, subject, spki, now }: Expected): void {
  const fields = parseCertificate(certificate);
  const view = new X509Certificate(certificate);
  const { notBefore, notAfter } = fields;
  const serialNumber = Buffer.from(fields.serialNumber, 'hex');
  const request = { profile: certificateProfile(kind), issuer, serialNumber, notBefore, notAfter, subject, spki };
  const problems = [...lintProblems(fields, view, request)];
  const signedBy = issuer === 'self' ? view : new X509Certificate(issuer.certificate);
  if (!view.checkIssued(signedBy) || !view.verify(signedBy.publicKey)) {
    problems.push(`its signature is not that of ${issuer === 'self' ? 'its own key' : 'a root of the realm'}`);
  }
  if (now < notBefore || now > notAfter) problems.push('it is not valid at this time');
  if (problems.length > 0)
    throw mismatch(`the certificate is not that of ${subject.commonName}: ${problems.join('; ')}`);
}

function readAuthority(certificate: Uint8Array): Issuer {
  try {
    return readIssuer(certificate);
  } catch (error) {
    throw new CroupierError('authority.certificate-mismatch', errorMessage(error), { cause: error });
  }
}

/**
 * Checks the certificate (DER) of an intermediate. On return: it has the name, the key and every property that the
 * ceremony gives such a certificate, is valid now, and is signed by one of `roots` (DER, trusted).
 * Errors: `authority.certificate-mismatch` with every broken rule.
 */
export function checkIntermediate(
  certificate: Uint8Array,
  expected: IntermediateName & {
    readonly spki: Uint8Array;
    readonly roots: readonly Uint8Array[];
    readonly now: Date;
  },
): void {
  const { kind, spki, now } = expected;
  const found = readAuthority(certificate);
  if (found.kind !== kind) throw mismatch(`the certificate is that of a ${found.kind}, not of a ${kind}`);
  const view = new X509Certificate(certificate);
  const root = expected.roots.find((der) => view.checkIssued(new X509Certificate(der)));
  if (root === undefined)
    throw mismatch('the certificate is not issued by a root of the realm: install its root first');
  check(certificate, { kind, issuer: readIssuer(root), subject: intermediateSubject(expected), spki, now });
}

/**
 * Checks the certificate (DER) of a root that nobody has vouched for yet: on return it is self-signed, of this realm, has
 * every property of a root and is valid now. Errors: `authority.certificate-mismatch`.
 */
export function checkRoot(certificate: Uint8Array, expected: { readonly realm: string; readonly now: Date }): void {
  const { realm, now } = expected;
  const { kind, distinguishedName: subject, spki } = readAuthority(certificate);
  if (kind !== 'root') throw mismatch(`the certificate is that of a ${kind}, not of a root`);
  const { commonName, organizationalUnit, organization } = subject;
  if (commonName === undefined || organization === undefined || organizationalUnit !== realm) {
    throw mismatch(`the certificate is not that of a root of the realm ${realm}`);
  }
  check(certificate, { kind, issuer: 'self', subject: { commonName, organizationalUnit, organization }, spki, now });
}
