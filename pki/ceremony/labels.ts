/** Labels of the keys in the tokens, numbered so that a successor can stand beside its predecessor. */

/** The only key of the root's own, offline token. */
export const ROOT_LABEL = 'root';

export const HSM_LABELS = {
  deviceCa: (generation: number) => `device-ca-${generation}`,
  operationsCa: (generation: number) => `operations-ca-${generation}`,
  messageSigner: (generation: number) => `message-signer-${generation}`,
  auditSigner: (generation: number) => `audit-signer-${generation}`,
  ocspResponder: (generation: number) => `ocsp-responder-${generation}`,
  kek: (generation: number) => `kek-${generation}`,
} as const;
