/** Certificate profiles: what the to-be-signed certificate of each kind must look like. */
import { OID } from '#pki/der/oid.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { KeyUsage } from './extensions.ts';

export const CERTIFICATE_KINDS = [
  'root',
  'device-ca',
  'operations-ca',
  'device',
  'tls-server',
  'message-signer',
  'audit-signer',
  'ocsp-responder',
  'operator',
] as const;
export type CertificateKind = (typeof CERTIFICATE_KINDS)[number];

/** The kinds that sign certificates. */
export type IssuerKind = 'root' | 'device-ca' | 'operations-ca';

export interface CertificateProfile {
  readonly kind: CertificateKind;
  readonly issuedBy: IssuerKind;
  /** Set on certification authorities. */
  readonly pathLength: number | undefined;
  /** Undefined on the root alone, which limits no purpose. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Which alternative names the subject must have. */
  readonly subjectAltName: 'device-uri' | 'hosts' | 'none';
  readonly ocspNoCheck: boolean;
  readonly maximumValidityDays: number;
}

type Shape = Omit<CertificateProfile, 'kind' | 'pathLength' | 'subjectAltName' | 'ocspNoCheck'> &
  Partial<Pick<CertificateProfile, 'pathLength' | 'subjectAltName' | 'ocspNoCheck'>>;

/**
 * Purposes nest (every purpose of a certificate must be among those of its issuer), so a certificate of the Device CA
 * can never be a message signer: neither for Croupier, which asks for `messageSigning`, nor for stock
 * `openssl cms -verify`, which asks for `emailProtection`. The latter is in message signers, so that anybody can check
 * a message without `-purpose any`; hence it is in the Operations CA, and nowhere else.
 */
const SHAPES: Readonly<Record<CertificateKind, Shape>> = {
  root: { issuedBy: 'root', pathLength: 1, extendedKeyUsage: undefined, maximumValidityDays: 7305 },
  'device-ca': { issuedBy: 'root', pathLength: 0, extendedKeyUsage: [OID.clientAuth], maximumValidityDays: 1827 },
  'operations-ca': {
    issuedBy: 'root',
    pathLength: 0,
    extendedKeyUsage: [
      OID.serverAuth,
      OID.clientAuth,
      OID.emailProtection,
      OID.messageSigning,
      OID.auditSigning,
      OID.ocspSigning,
    ],
    maximumValidityDays: 1827,
  },
  device: {
    issuedBy: 'device-ca',
    extendedKeyUsage: [OID.clientAuth],
    subjectAltName: 'device-uri',
    maximumValidityDays: 1827,
  },
  'tls-server': {
    issuedBy: 'operations-ca',
    extendedKeyUsage: [OID.serverAuth],
    subjectAltName: 'hosts',
    maximumValidityDays: 398,
  },
  'message-signer': {
    issuedBy: 'operations-ca',
    extendedKeyUsage: [OID.messageSigning, OID.emailProtection],
    maximumValidityDays: 1096,
  },
  'audit-signer': { issuedBy: 'operations-ca', extendedKeyUsage: [OID.auditSigning], maximumValidityDays: 1096 },
  'ocsp-responder': {
    issuedBy: 'operations-ca',
    extendedKeyUsage: [OID.ocspSigning],
    ocspNoCheck: true,
    maximumValidityDays: 398,
  },
  operator: { issuedBy: 'operations-ca', extendedKeyUsage: [OID.clientAuth], maximumValidityDays: 398 },
};

/** The profile of a kind; `maximumValidityDays` may be lowered (or raised) by the fleet policy. */
export function certificateProfile(
  kind: CertificateKind,
  limits: { readonly maximumValidityDays?: number } = {},
): CertificateProfile {
  return {
    kind,
    pathLength: undefined,
    subjectAltName: 'none',
    ocspNoCheck: false,
    ...SHAPES[kind],
    ...limits,
  };
}

/** The keyUsage that a profile prescribes for a key of this type. */
export function keyUsageOf(profile: CertificateProfile, algorithm: KeyAlgorithm): readonly KeyUsage[] {
  if (profile.pathLength !== undefined) return ['keyCertSign', 'cRLSign'];
  const rsa = algorithm.startsWith('RSA');
  if (profile.kind === 'device') {
    // Devices receive sealed keys: ECDH with EC, OAEP with RSA. Ed25519 only signs.
    if (algorithm.startsWith('EC')) return ['digitalSignature', 'keyAgreement'];
    return rsa ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature'];
  }
  return profile.kind === 'tls-server' && rsa ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature'];
}
