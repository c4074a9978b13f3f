/** What can sign: an HSM key behind a KeyStore, or a device's own software key. */

/** Key types that Croupier generates or accepts; names as in NIST SP 800-57 / RFC 8410. */
export const KEY_ALGORITHMS = ['EC-P256', 'EC-P384', 'RSA-2048', 'RSA-3072', 'RSA-4096', 'Ed25519'] as const;
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number];

export interface Signer {
  readonly algorithm: KeyAlgorithm;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /**
   * Signature over `data` with the hash that belongs to the algorithm (SHA-256; SHA-384 for P-384), encoded as X.509
   * and CMS want it: DER `Ecdsa-Sig-Value` for EC, PKCS#1 v1.5 for RSA, 64 raw bytes for Ed25519.
   */
  sign(data: Uint8Array): Promise<Uint8Array>;
}
