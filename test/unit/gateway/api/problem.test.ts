import { describe, expect, test } from 'vitest';
import { nameError, problemOf } from '#gateway/api/problem.ts';
import { apiStatus } from '#gateway/api/status.ts';
import { CroupierError, ERROR_CODES } from '#schema/errors.ts';

describe('errors on the operator API', () => {
  test.each(ERROR_CODES)('%s has a status, and its problem says what to do', (code) => {
    const problem = problemOf(new CroupierError(code));
    expect(problem.status).toBe(apiStatus(code));
    expect(problem.status).toBeGreaterThanOrEqual(400);
    expect([problem.code, problem.type]).toEqual([code, `urn:croupier:error:${code}`]);
    expect(problem.remedy.length).toBeGreaterThan(0);
    expect(problem.retryAfter !== undefined).toBe(problem.status === 503);
  });

  test.each([
    ['operator.unauthenticated', 401],
    ['operator.forbidden', 403],
    ['approval.self', 403],
    ['device.not-found', 404],
    ['keyset.rotation-under-way', 409],
    ['input.too-large', 413],
    ['operator.rate-limited', 429],
    ['store.corrupt', 500],
    ['hsm.unavailable', 503],
    ['audit.unavailable', 503],
  ] as const)('%s is %i', (code, status) => {
    expect(apiStatus(code)).toBe(status);
  });

  test('the error itself says how long to wait, where it knows', () => {
    expect(problemOf(new CroupierError('hsm.unavailable', undefined, { retryAfter: 2.2 })).retryAfter).toBe(3);
  });

  test('what has no name keeps its message to the log', () => {
    const cause = new TypeError('s3cret');
    const named = nameError(cause);
    expect([named.code, named.cause]).toEqual(['internal.unexpected', cause]);
    expect(JSON.stringify(problemOf(named))).not.toContain('s3cret');
    expect(nameError('text').code).toBe('internal.unexpected');
  });
});
