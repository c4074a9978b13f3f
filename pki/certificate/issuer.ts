/** A certification authority as its own certificate describes it. */
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { ParsedName } from './name.ts';
import { parseCertificate } from './parse.ts';
import { certificateProfile, type IssuerKind } from './profile.ts';
import { algorithmOfPublicKey, parsePublicKey } from './public-key.ts';

export interface Issuer {
  readonly kind: IssuerKind;
  /** Certificate, DER. */
  readonly certificate: Uint8Array;
  /** Subject of the certificate, DER, verbatim: the issuer field of what it signs. */
  readonly name: Uint8Array;
  /** Croupier's authorities name the realm in `organizationalUnit`. */
  readonly distinguishedName: ParsedName;
  readonly algorithm: KeyAlgorithm;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly keyIdentifier: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

function samePurposes(found: readonly string[] | undefined, wanted: readonly string[] | undefined): boolean {
  if (found === undefined || wanted === undefined) return found === wanted;
  return found.length === wanted.length && wanted.every((purpose) => found.includes(purpose));
}

const ISSUER_KINDS: readonly IssuerKind[] = ['root', 'device-ca', 'operations-ca'];

/**
 * Reads the certificate (DER) of one of Croupier's authorities; which one, its purposes tell. Its own signature is not
 * verified: take it from where it is trusted. Errors: `certificate.malformed`; `certificate.purpose-refused` if it is
 * none of root, Device CA and Operations CA.
 */
export function readIssuer(certificate: Uint8Array): Issuer {
  const parsed = parseCertificate(certificate);
  const algorithm = algorithmOfPublicKey(parsePublicKey(parsed.spki));
  const kind = ISSUER_KINDS.find((kind) =>
    samePurposes(parsed.extendedKeyUsage, certificateProfile(kind).extendedKeyUsage),
  );
  const signs = parsed.basicConstraints?.ca === true && parsed.keyUsage?.has('keyCertSign') === true;
  if (!signs || kind === undefined || algorithm === undefined || parsed.subjectKeyIdentifier === undefined) {
    throw new CroupierError(
      'certificate.purpose-refused',
      'the certificate is not that of a root, Device CA or Operations CA',
    );
  }
  return {
    kind,
    certificate,
    name: parsed.subject,
    distinguishedName: parsed.subjectName,
    algorithm,
    spki: parsed.spki,
    keyIdentifier: parsed.subjectKeyIdentifier,
    notBefore: parsed.notBefore,
    notAfter: parsed.notAfter,
  };
}
