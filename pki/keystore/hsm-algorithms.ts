/** Which signing keys a KeyStore generates and uses, and the limits that all key stores share. */
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';

export type HsmKeyAlgorithm = Exclude<KeyAlgorithm, 'Ed25519'>;

/** Narrows to what a KeyStore supports. Errors: `hsm.mechanism-unsupported`. */
export function requireHsmAlgorithm(algorithm: KeyAlgorithm): HsmKeyAlgorithm {
  if (algorithm === 'Ed25519') {
    throw new CroupierError(
      'hsm.mechanism-unsupported',
      'Ed25519 keys are not kept in the HSM; use EC-P256, EC-P384 or RSA',
    );
  }
  return algorithm;
}

const LABEL = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/;

/** A label is 1 to 128 letters, digits and `. _ : / -`, so that it survives every vendor's tools. Errors: `input.invalid`. */
export function requireLabel(label: string): void {
  if (!LABEL.test(label)) {
    throw new CroupierError(
      'input.invalid',
      `key label ${JSON.stringify(label.slice(0, 140))} is not allowed: use 1 to 128 letters, digits and . _ : / -`,
    );
  }
}

/** Longest plaintext or additional data that `wrap` takes. */
export const WRAP_LIMIT = 65_536;
/** Longest answer of `random`. */
export const RANDOM_LIMIT = 65_536;

/** Errors: `input.invalid`, `input.too-large`. */
export function requireLength(what: string, length: number, minimum: number, maximum: number): void {
  if (!Number.isSafeInteger(length) || length < minimum) {
    throw new CroupierError('input.invalid', `${what} must have at least ${minimum} bytes, not ${length}`);
  }
  if (length > maximum) throw new CroupierError('input.too-large', `${what} may have ${maximum} bytes, not ${length}`);
}
