/** What `KeyStore.wrap` returns: `version (1 octet) | iv (12) | ciphertext | tag (16)`, AES-256-GCM (SP 800-38D). */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { WRAP_LIMIT } from './hsm-algorithms.ts';

export const GCM_IV_LENGTH = 12;
export const GCM_TAG_LENGTH = 16;
const VERSION = 1;
const OVERHEAD = 1 + GCM_IV_LENGTH + GCM_TAG_LENGTH;

export function encodeBlob(iv: Uint8Array, sealed: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([VERSION]), iv, sealed]);
}

/** Views into the blob. Errors: `hsm.unwrap-failed`. */
export function decodeBlob(blob: Uint8Array): { readonly iv: Uint8Array; readonly sealed: Uint8Array } {
  if (blob[0] !== VERSION || blob.length <= OVERHEAD || blob.length > OVERHEAD + WRAP_LIMIT) {
    throw new CroupierError(
      'hsm.unwrap-failed',
      `the wrapped key of ${blob.length} bytes does not have the layout of version ${VERSION}`,
    );
  }
  return { iv: blob.subarray(1, 1 + GCM_IV_LENGTH), sealed: blob.subarray(1 + GCM_IV_LENGTH) };
}

export function unwrapFailed(label: string, cause?: unknown): CroupierError {
  return new CroupierError(
    'hsm.unwrap-failed',
    `the wrapped key does not open with HSM key ${label}: it was altered, or belongs to another wrapping key, key set or version`,
    { cause },
  );
}
