/** Authorities as operators see them. */
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import type { AuthorityView } from '#schema/api/views.ts';
import { Sha256 } from '#schema/ids.ts';
import type { AuthorityRecord } from '#gateway/ports/store/records.ts';
import { isCertified, isIssuedBy } from '#gateway/trust/lineage.ts';
import { instant } from './encode.ts';

function certificateView(
  certificate: Uint8Array,
  records: readonly AuthorityRecord[],
): NonNullable<AuthorityView['certificate']> {
  const { subjectName, serialNumber, notBefore, notAfter } = parseCertificate(certificate);
  const issuer = records
    .filter(isCertified)
    .find((record) => record.certificate !== certificate && isIssuedBy(certificate, record.certificate));
  return {
    subject: subjectName.commonName ?? '',
    serialNumber,
    sha256: Sha256.parse(certificateFingerprint(certificate)),
    notBefore: instant(notBefore),
    notAfter: instant(notAfter),
    issuer: issuer?.keyLabel ?? null,
    pem: encodePem('CERTIFICATE', certificate),
  };
}

/** `devices`: how many use a certificate of this Device CA. */
export function authorityView(
  { role, keyLabel, state, certificate, createdAt, changedAt }: AuthorityRecord,
  records: readonly AuthorityRecord[],
  devices: number | null,
): AuthorityView {
  return {
    role,
    keyLabel,
    state,
    createdAt: instant(createdAt),
    changedAt: instant(changedAt),
    certificate: certificate === undefined ? null : certificateView(certificate, records),
    devices,
  };
}
