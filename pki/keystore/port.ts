/**
 * The KeyStore port: keys that never leave, addressed by label.
 *
 * Every implementation passes `test/contract/keystore.contract.ts`. Implementations: `pkcs11/` (any PKCS#11 module)
 * and `memory.ts` (a working fake for unit tests and virtual-time models).
 */
import type { Signer, KeyAlgorithm } from '#pki/keys/signer.ts';

export type KeyStoreHealth =
  | { readonly state: 'ready'; readonly sessions: number; readonly operations: number }
  | { readonly state: 'unavailable'; readonly since: Date; readonly reason: string };

export interface KeyStore {
  /** Generates a non-extractable, sign-only key pair. Errors: `hsm.key-exists`, `hsm.unavailable`. */
  generateSigningKey(label: string, algorithm: KeyAlgorithm): Promise<Signer>;
  /** Finds a signing key. Errors: `hsm.key-not-found`, `hsm.unavailable`. */
  signer(label: string): Promise<Signer>;
  /** Generates a non-extractable AES-256 key that only wraps and unwraps. Errors: `hsm.key-exists`. */
  generateWrappingKey(label: string): Promise<void>;
  /**
   * Encrypts key material under a wrapping key: AES-256-GCM, fresh 96-bit IV, `aad` authenticated (the caller binds
   * realm, key set and version there). Returns an opaque versioned blob.
   */
  wrap(label: string, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
  /** Reverse of `wrap`. The caller wipes the result. Errors: `hsm.unwrap-failed`, `hsm.key-not-found`. */
  unwrap(label: string, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
  /** Bytes of the HSM's random generator. */
  random(length: number): Promise<Uint8Array>;
  /** Labels of all keys held. */
  labels(): Promise<readonly string[]>;
  /** Destroys the key (pair) and verifies that it is gone. Errors: `hsm.key-not-found`. */
  destroy(label: string): Promise<void>;
  health(): KeyStoreHealth;
  close(): Promise<void>;
}
