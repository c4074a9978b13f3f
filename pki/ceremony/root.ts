/** The root ceremony: a key in its own token, and the certificate that it signs for itself. */
import { issueCertificate, validityWithin } from '#pki/certificate/issue.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { serialNumberFrom } from '#pki/certificate/serial-number.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { ROOT_LABEL } from './labels.ts';
import { describeCeremony, type CeremonyResult, type CeremonySetting } from './record.ts';
import { FAR_PAST_AND_FUTURE, daysOfYears } from './validity.ts';

export interface RootCeremony extends CeremonySetting {
  /** The root's own token. */
  readonly keyStore: KeyStore;
  readonly algorithm: KeyAlgorithm;
  /** 1 for the first, unless told; a successor gets the next number in its name. */
  readonly generation?: number;
  /** At most 20. */
  readonly years: number;
}

/**
 * Generates the key `root` and has it sign its own certificate, DER. Errors: `hsm.key-exists` if there is a root
 * already, other errors of the KeyStore, `certificate.lint-failed`, those of `recordIntent`.
 */
export async function rootCeremony(ceremony: RootCeremony): Promise<CeremonyResult> {
  const { generation = 1 } = ceremony;
  const signer = await ceremony.keyStore.generateSigningKey(ROOT_LABEL, ceremony.algorithm);
  const certificate = await issueCertificate(
    {
      profile: certificateProfile('root'),
      issuer: 'self',
      serialNumber: serialNumberFrom(ceremony.randomBytes(16)),
      ...validityWithin(FAR_PAST_AND_FUTURE, { now: ceremony.now, days: daysOfYears(ceremony.years) }),
      subject: {
        commonName: generation === 1 ? 'Croupier Root CA' : `Croupier Root CA ${generation}`,
        organizationalUnit: ceremony.realm,
        organization: ceremony.operator,
      },
      spki: signer.spki,
    },
    signer,
    ceremony.recordIntent,
  );
  return describeCeremony('root', ceremony, { certificate, issuerCertificate: certificate, keyLabel: ROOT_LABEL });
}
