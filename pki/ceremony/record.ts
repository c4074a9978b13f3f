/** What a ceremony leaves behind for auditors: who made what, when, from which key. No secrets. */
import { algorithmOfPublicKey, parsePublicKey, publicKeyFingerprint } from '#pki/certificate/public-key.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import type { CertificateKind } from '#pki/certificate/profile.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';

/** Circumstances that every ceremony has. */
export interface CeremonySetting {
  readonly realm: string;
  /** Who runs the casino: `O` of every subject. */
  readonly operator: string;
  /** The people present. */
  readonly performedBy: readonly string[];
  readonly now: Date;
  readonly randomBytes: (length: number) => Uint8Array;
  /**
   * Stores serial number and to-be-signed bytes before the key signs, so that no certificate exists that nobody knows;
   * if it rejects, nothing is signed.
   */
  readonly recordIntent: (intent: { readonly serialNumber: string; readonly tbs: Uint8Array }) => Promise<void>;
}

/** JSON-ready. Fingerprints are SHA-256, lower-case hex. */
export interface CeremonyRecord {
  readonly ceremony: CertificateKind;
  readonly realm: string;
  readonly operator: string;
  readonly performedBy: readonly string[];
  /** RFC 3339, UTC. */
  readonly performedAt: string;
  /** Label of the subject's key in its KeyStore; null for a key outside an HSM. */
  readonly keyLabel: string | null;
  readonly algorithm: KeyAlgorithm;
  readonly commonName: string;
  readonly serialNumber: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly certificateFingerprint: string;
  readonly publicKeyFingerprint: string;
  /** Of the issuer's certificate; for the root its own. */
  readonly issuerFingerprint: string;
}

export interface CeremonyResult {
  /** DER. */
  readonly certificate: Uint8Array;
  readonly record: CeremonyRecord;
}

/** Describes a certificate that a ceremony has made. */
export function describeCeremony(
  ceremony: CertificateKind,
  setting: CeremonySetting,
  made: { readonly certificate: Uint8Array; readonly issuerCertificate: Uint8Array; readonly keyLabel: string | null },
): CeremonyResult {
  const parsed = parseCertificate(made.certificate);
  const algorithm = algorithmOfPublicKey(parsePublicKey(parsed.spki));
  if (algorithm === undefined) throw new TypeError('a ceremony certifies known key algorithms only');
  return {
    certificate: made.certificate,
    record: {
      ceremony,
      realm: setting.realm,
      operator: setting.operator,
      performedBy: setting.performedBy,
      performedAt: setting.now.toISOString(),
      keyLabel: made.keyLabel,
      algorithm,
      commonName: parsed.subjectName.commonName ?? '',
      serialNumber: parsed.serialNumber,
      notBefore: parsed.notBefore.toISOString(),
      notAfter: parsed.notAfter.toISOString(),
      certificateFingerprint: certificateFingerprint(made.certificate),
      publicKeyFingerprint: publicKeyFingerprint(parsed.spki),
      issuerFingerprint: certificateFingerprint(made.issuerCertificate),
    },
  };
}
