/** One thing that the doctor looks at, and what came of it. */
import { CroupierError, ERROR_CATALOGUE, errorCode, errorMessage, type ErrorCode } from '#schema/errors.ts';

export type CheckState = 'ok' | 'warn' | 'fail' | 'skipped';

export interface Finding {
  readonly check: string;
  readonly state: CheckState;
  readonly message: string;
  /** How to mend it; for `warn` and `fail`. */
  readonly remedy?: string;
  readonly code?: ErrorCode;
}

export const ok = (check: string, message: string): Finding => ({ check, state: 'ok', message });

export const warn = (check: string, message: string, remedy: string): Finding => ({
  check,
  state: 'warn',
  message,
  remedy,
});

export const fail = (
  check: string,
  code: ErrorCode,
  message: string,
  remedy: string = ERROR_CATALOGUE[code].remedy,
): Finding => ({
  check,
  state: 'fail',
  message,
  remedy,
  code,
});

export const skipped = (check: string, because: string): Finding => ({ check, state: 'skipped', message: because });

/** What a check threw, as its finding. */
export function failure(check: string, error: unknown): Finding {
  const remedy = error instanceof CroupierError ? error.remedy : undefined;
  return fail(check, errorCode(error), errorMessage(error), remedy);
}

/** Runs a check; what it throws is its finding. */
export async function attempt(check: string, body: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await body();
  } catch (error) {
    return [failure(check, error)];
  }
}
