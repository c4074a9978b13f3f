/** From PKCS#11 return values to Croupier's errors, and to what has to be renewed before a second attempt. */
import { CroupierError, type ErrorCode } from '#schema/errors.ts';

/**
 * What an error asks for: `sessions` new sessions and a new login, `module` finalising and initialising the module
 * anew, `none` when neither would change the outcome.
 */
export type Recovery = 'none' | 'sessions' | 'module';

/** The token answers, but no longer holds what this process has seen in it. */
export class TokenUnsound extends Error {
  override readonly name = 'TokenUnsound';
}

const SESSION_LOST = new Set([
  'CKR_SESSION_HANDLE_INVALID',
  'CKR_SESSION_CLOSED',
  'CKR_USER_NOT_LOGGED_IN',
  'CKR_OPERATION_ACTIVE',
  'CKR_OPERATION_NOT_INITIALIZED',
]);

const PIN_REFUSED = new Set([
  'CKR_PIN_INCORRECT',
  'CKR_PIN_INVALID',
  'CKR_PIN_LEN_RANGE',
  'CKR_PIN_EXPIRED',
  'CKR_PIN_LOCKED',
  'CKR_USER_PIN_NOT_INITIALIZED',
]);

/** Answers about the request, not about the state of the HSM: the same request gets the same answer. */
const REQUEST_REFUSED = new Set([
  'CKR_ARGUMENTS_BAD',
  'CKR_ATTRIBUTE_READ_ONLY',
  'CKR_ATTRIBUTE_SENSITIVE',
  'CKR_ATTRIBUTE_TYPE_INVALID',
  'CKR_ATTRIBUTE_VALUE_INVALID',
  'CKR_BUFFER_TOO_SMALL',
  'CKR_CURVE_NOT_SUPPORTED',
  'CKR_DATA_INVALID',
  'CKR_DATA_LEN_RANGE',
  'CKR_DOMAIN_PARAMS_INVALID',
  'CKR_FUNCTION_NOT_SUPPORTED',
  'CKR_KEY_FUNCTION_NOT_PERMITTED',
  'CKR_KEY_SIZE_RANGE',
  'CKR_KEY_TYPE_INCONSISTENT',
  'CKR_MECHANISM_INVALID',
  'CKR_MECHANISM_PARAM_INVALID',
  'CKR_SESSION_READ_ONLY',
  'CKR_TEMPLATE_INCOMPLETE',
  'CKR_TEMPLATE_INCONSISTENT',
  'CKR_TOKEN_WRITE_PROTECTED',
]);

const RETURN_VALUE = /^CKR_[A-Z0-9_]+/;

/** Name of the CK_RV of an error that came from the module, e.g. `CKR_DEVICE_REMOVED`. */
export function returnValueOf(error: unknown): string | undefined {
  return error instanceof Error ? RETURN_VALUE.exec(error.message)?.[0] : undefined;
}

export function recoveryFor(error: unknown): Recovery {
  if (error instanceof TokenUnsound) return 'module';
  if (error instanceof CroupierError) return error.code === 'hsm.token-absent' ? 'module' : 'none';
  const value = returnValueOf(error);
  if (value === undefined || PIN_REFUSED.has(value) || REQUEST_REFUSED.has(value) || value === 'CKR_SESSION_COUNT')
    return 'none';
  return SESSION_LOST.has(value) ? 'sessions' : 'module';
}

function codeFor(value: string): ErrorCode {
  if (PIN_REFUSED.has(value)) return 'hsm.pin-wrong';
  return REQUEST_REFUSED.has(value) ? 'hsm.mechanism-unsupported' : 'hsm.unavailable';
}

/** Names any error that left the module; errors of Croupier pass unchanged, a programming error is no HSM error. */
export function describeFailure(error: unknown, tokenLabel: string, retryAfter: number): unknown {
  if (error instanceof CroupierError) return error;
  if (error instanceof TokenUnsound) {
    return new CroupierError('hsm.unavailable', `HSM token ${tokenLabel}: ${error.message}`, {
      cause: error,
      retryAfter,
    });
  }
  const value = returnValueOf(error);
  if (value === undefined) return error;
  const code = codeFor(value);
  const cause = { cause: error, detail: { token: tokenLabel, returnValue: value } };
  if (code === 'hsm.unavailable') {
    return new CroupierError(code, `HSM token ${tokenLabel} does not answer (${value})`, { ...cause, retryAfter });
  }
  const what = code === 'hsm.pin-wrong' ? 'the PIN' : 'the operation';
  return new CroupierError(code, `HSM token ${tokenLabel} refuses ${what} (${value})`, cause);
}

const TAG_REFUSED = new Set(['CKR_ENCRYPTED_DATA_INVALID', 'CKR_ENCRYPTED_DATA_LEN_RANGE', 'CKR_AEAD_DECRYPT_FAILED']);
const TAG_UNCLEAR = new Set(['CKR_GENERAL_ERROR', 'CKR_FUNCTION_FAILED', 'CKR_DEVICE_ERROR']);

/**
 * What a failed decryption says about the authentication tag: `refused` it is wrong, `unclear` wrong or the device is
 * broken, `other` nothing.
 */
export function decryptionVerdict(error: unknown): 'refused' | 'unclear' | 'other' {
  const value = returnValueOf(error) ?? '';
  if (TAG_REFUSED.has(value)) return 'refused';
  return TAG_UNCLEAR.has(value) ? 'unclear' : 'other';
}
