/** What an error looks like on the wire. */
import { describe, expect, test } from 'vitest';
import { CroupierError, ERROR_CODES } from '#schema/errors.ts';
import { refusal } from '#gateway/est/answer.ts';
import { estStatus } from '#gateway/est/status.ts';

describe('status', () => {
  test('given every code of the catalogue, when answered, then the form fits the status', () => {
    for (const code of ERROR_CODES) {
      const { status, headers, body } = refusal(new CroupierError(code, 'a reason', { retryAfter: 3.2 }), 'prod');
      expect(status, code).toBe(estStatus(code));
      expect(headers.slice(-2)).toEqual(['Croupier-Error', code]);
      expect(headers.includes('WWW-Authenticate'), code).toBe(status === 401);
      expect(headers.includes('Retry-After'), code).toBe(status === 503);
      expect(body === undefined, code).toBe(status === 401);
      if (status === 503) expect(headers[headers.indexOf('Retry-After') + 1]).toBe('4');
      const told = status < 500 || code === 'enrolment.rate-limited';
      expect(body?.toString().startsWith('a reason') ?? told, code).toBe(told);
    }
  });

  test.each([
    ['csr.key-weak', 400],
    ['certificate.expired', 400],
    ['certificate.unknown', 401],
    ['enrolment.code-invalid', 401],
    ['enrolment.label-unknown', 404],
    ['input.too-large', 413],
    ['certificate.invariant-broken', 500],
    ['store.corrupt', 500],
    ['hsm.unavailable', 503],
    ['store.unavailable', 503],
    ['audit.unavailable', 503],
    ['enrolment.rate-limited', 503],
  ] as const)('given %s, when answered, then it is %i', (code, status) => {
    expect(estStatus(code)).toBe(status);
  });

  test('given something that is not ours, when answered, then 500 tells nothing of it', () => {
    const { status, body } = refusal(new TypeError('/secret/path is not a function'), 'prod');
    expect([status, body?.toString()]).toEqual([500, expect.not.stringContaining('secret')]);
  });
});
