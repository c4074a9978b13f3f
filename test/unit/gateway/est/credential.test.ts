/** Which credential decides. */
import { describe, expect, test } from 'vitest';
import { credentialOf } from '#gateway/est/credential.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

describe('credential', () => {
  const certificate = new Uint8Array([1]);
  const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`;
  const ticket = { kind: 'ticket', user: 'egm-1', code: 'a:b' };

  test.each([
    ['simpleenroll', undefined, undefined, { kind: 'none' }],
    ['simpleenroll', basic('egm-1:a:b'), undefined, ticket],
    ['simpleenroll', basic('egm-1:a:b').replace('Basic', 'basic '), undefined, ticket],
    ['simpleenroll', undefined, certificate, { kind: 'certificate', certificate }],
    ['simpleenroll', basic('egm-1:a:b'), certificate, ticket],
    ['simplereenroll', basic('egm-1:a:b'), certificate, { kind: 'certificate', certificate }],
    ['simplereenroll', basic('egm-1:a:b'), undefined, ticket],
  ] as const)(
    'given %s with Authorization %s and certificate %s, then %o decides',
    (operation, authorization, shown, expected) => {
      expect(credentialOf(operation, { authorization, certificate: shown })).toEqual(expected);
    },
  );

  test.each([
    ['Basic', 'enrolment.code-invalid'],
    ['Basic !!!', 'enrolment.code-invalid'],
    [basic('no colon'), 'enrolment.code-invalid'],
    [basic(':code'), 'enrolment.code-invalid'],
    [`Basic ${'A'.repeat(2_000)}`, 'enrolment.code-invalid'],
    ['Bearer abc', 'enrolment.unauthenticated'],
    ['Digest username="egm-1"', 'enrolment.unauthenticated'],
  ] as const)('given Authorization %s, when read, then it is refused with %s', async (authorization, code) => {
    await expectRefusal(code, () => credentialOf('simpleenroll', { authorization, certificate: undefined }));
  });
});
