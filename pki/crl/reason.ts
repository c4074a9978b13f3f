/** CRLReason (RFC 5280, 5.3.1). `removeFromCRL` belongs to delta CRLs, which Croupier does not make. */

const CODES = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

export type RevocationReason = keyof typeof CODES;

export function reasonCode(reason: RevocationReason): number {
  return CODES[reason];
}

export function reasonOfCode(code: number): RevocationReason | undefined {
  for (const reason of REVOCATION_REASONS) if (CODES[reason] === code) return reason;
  return undefined;
}

export const REVOCATION_REASONS: readonly RevocationReason[] = Object.keys(CODES).filter(
  (key): key is RevocationReason => Object.hasOwn(CODES, key),
);
