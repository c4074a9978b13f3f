/** Certificates under the Operations CA: gateway TLS, message signers, audit signer, OCSP responder, operators. */
import { generateSoftwareKey, exportPrivateKeyPem } from '#pki/keys/software-key.ts';
import { CroupierError } from '#schema/errors.ts';
import type { SubjectAltName } from '#pki/certificate/extensions.ts';
import { issueCertificate, validityWithin } from '#pki/certificate/issue.ts';
import { readIssuer } from '#pki/certificate/issuer.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { serialNumberFrom } from '#pki/certificate/serial-number.ts';
import { checkPublicKey } from '#pki/csr/check.ts';
import { KEY_ALGORITHMS, type KeyAlgorithm, type Signer } from '#pki/keys/signer.ts';
import { describeCeremony, type CeremonyResult, type CeremonySetting } from './record.ts';

export type OperationalKind = 'tls-server' | 'message-signer' | 'audit-signer' | 'ocsp-responder' | 'operator';

export interface OperationalIssuance extends CeremonySetting {
  /** Certificate of the Operations CA, DER. */
  readonly operationsCertificate: Uint8Array;
  readonly operationsSigner: Signer;
  readonly kind: OperationalKind;
  readonly commonName: string;
  /**
   * SubjectPublicKeyInfo, DER, of a key whose possession is known: just generated in the HSM or by `generateTlsServerKey`,
   * or proven by a request that was checked.
   */
  readonly spki: Uint8Array;
  /** Null for a key outside an HSM. */
  readonly keyLabel: string | null;
  /** Host names and addresses; for TLS servers only, which must have some. */
  readonly hosts?: readonly Extract<SubjectAltName, { readonly type: 'dns' | 'ip' }>[];
  /** Not beyond the Operations CA. */
  readonly days: number;
  readonly crlUrl?: string;
  readonly ocspUrl?: string;
}

/**
 * Issues one certificate under the Operations CA, DER. Errors: `certificate.purpose-refused` if the issuer is another
 * authority or of another realm, `csr.key-weak`, `certificate.lint-failed`, those of the signer and of `recordIntent`.
 */
export async function issueOperational(issuance: OperationalIssuance): Promise<CeremonyResult> {
  const issuer = readIssuer(issuance.operationsCertificate);
  if (issuer.kind !== 'operations-ca' || issuer.distinguishedName.organizationalUnit !== issuance.realm) {
    throw new CroupierError(
      'certificate.purpose-refused',
      `the issuer is not the Operations CA of the realm ${issuance.realm}`,
    );
  }
  checkPublicKey(issuance.spki, KEY_ALGORITHMS);
  const certificate = await issueCertificate(
    {
      profile: certificateProfile(issuance.kind),
      issuer,
      serialNumber: serialNumberFrom(issuance.randomBytes(16)),
      ...validityWithin(issuer, { now: issuance.now, days: issuance.days }),
      subject: {
        commonName: issuance.commonName,
        organizationalUnit: issuance.realm,
        organization: issuance.operator,
      },
      spki: issuance.spki,
      subjectAltNames: issuance.hosts ?? [],
      ...(issuance.crlUrl === undefined ? {} : { crlUrl: issuance.crlUrl }),
      ...(issuance.ocspUrl === undefined ? {} : { ocspUrl: issuance.ocspUrl }),
    },
    issuance.operationsSigner,
    issuance.recordIntent,
  );
  return describeCeremony(issuance.kind, issuance, {
    certificate,
    issuerCertificate: issuance.operationsCertificate,
    keyLabel: issuance.keyLabel,
  });
}

export interface TlsServerKey {
  /** PKCS#8, PEM, in clear: write it with mode 0600 and keep it nowhere else. */
  readonly privateKeyPem: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
}

/** A key for the gateway's TLS listeners. It lives in a file, since Node's TLS cannot use a key in an HSM. */
export async function generateTlsServerKey(algorithm: KeyAlgorithm): Promise<TlsServerKey> {
  const { privateKey, signer } = await generateSoftwareKey(algorithm);
  return { privateKeyPem: exportPrivateKeyPem(privateKey), spki: signer.spki };
}
