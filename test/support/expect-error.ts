import { expect } from 'vitest';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';

/** Runs what must be refused, and returns the refusal after checking its code. */
export async function expectRefusal(code: ErrorCode, action: () => unknown): Promise<CroupierError> {
  let thrown: unknown;
  try {
    await action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown, `expected a refusal with ${code}`).toBeInstanceOf(CroupierError);
  const refusal = thrown as CroupierError;
  expect(refusal.code, refusal.message).toBe(code);
  return refusal;
}
