/** Which authority certified which, by their certificates. Pure. */
import { X509Certificate } from 'node:crypto';
import type { AuthorityRecord, AuthorityRole, AuthorityState } from '#gateway/ports/store/records.ts';

/** An authority with its certificate. */
export type CertifiedAuthority = AuthorityRecord & { readonly certificate: Uint8Array };

export const isCertified = (record: AuthorityRecord): record is CertifiedAuthority => record.certificate !== undefined;

/** In these states an authority's certificate is an anchor of the next trust bundle. */
export const TRUSTED_STATES: readonly AuthorityState[] = ['current', 'next', 'previous'];

/** The certified ones of a role in these states, in the order of the states, the youngest first. */
export function authoritiesIn(
  records: readonly AuthorityRecord[],
  role: AuthorityRole,
  states: readonly AuthorityState[] = TRUSTED_STATES,
): readonly CertifiedAuthority[] {
  return states.flatMap((state) =>
    records
      .filter(isCertified)
      .filter((record) => record.role === role && record.state === state)
      .toSorted((a, b) => b.createdAt.getTime() - a.createdAt.getTime()),
  );
}

/** Whether names, key identifiers and signature say that `issuer` certified `certificate`, both DER. Times are not looked at. */
export function isIssuedBy(certificate: Uint8Array, issuer: Uint8Array): boolean {
  const [child, parent] = [new X509Certificate(certificate), new X509Certificate(issuer)];
  return child.checkIssued(parent) && child.verify(parent.publicKey);
}

/** The authority among `candidates` that certified `certificate`, DER. */
export function issuerAmong<Candidate extends CertifiedAuthority>(
  certificate: Uint8Array,
  candidates: readonly Candidate[],
): Candidate | undefined {
  return candidates.find((candidate) => isIssuedBy(certificate, candidate.certificate));
}

const EVER_TRUSTED: readonly AuthorityState[] = [...TRUSTED_STATES, 'withdrawn'];

/** The Operations CA that certified a signer's certificate, DER; a withdrawn one, too. */
export function certifierOf(
  records: readonly AuthorityRecord[],
  certificate: Uint8Array,
): CertifiedAuthority | undefined {
  return issuerAmong(certificate, authoritiesIn(records, 'operations-ca', EVER_TRUSTED));
}

/** The root that certified a CA's certificate, DER; a withdrawn one, too. */
export function rootAbove(
  records: readonly AuthorityRecord[],
  certificate: Uint8Array,
): CertifiedAuthority | undefined {
  return issuerAmong(certificate, authoritiesIn(records, 'root', EVER_TRUSTED));
}

/** The root that an audit trail is verified with: that above the audit signer. */
export function auditRoot(records: readonly AuthorityRecord[]): CertifiedAuthority | undefined {
  const [signer] = authoritiesIn(records, 'audit-signer', ['current']);
  const certifier = signer === undefined ? undefined : certifierOf(records, signer.certificate);
  return certifier === undefined ? undefined : rootAbove(records, certifier.certificate);
}
