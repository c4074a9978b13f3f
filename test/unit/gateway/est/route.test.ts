/** Paths of EST (RFC 7030, 3.2.2). */
import { describe, expect, test } from 'vitest';
import { routeOf } from '#gateway/est/route.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

describe('route', () => {
  test.each([
    ['GET', '/.well-known/est/cacerts', 'cacerts', undefined],
    ['GET', '/.well-known/est/egm/csrattrs', 'csrattrs', 'egm'],
    ['POST', '/.well-known/est/simpleenroll?x=1', 'simpleenroll', undefined],
    ['POST', '/.well-known/est/kiosk/simplereenroll', 'simplereenroll', 'kiosk'],
  ])('given %s %s, when routed, then it is %s with label %s', (method, path, operation, label) => {
    expect(routeOf(method, path, ['egm', 'kiosk'])).toEqual({ operation, label });
  });

  test.each([
    ['GET', '/', 404, 'input.invalid'],
    ['GET', '/.well-known/est', 404, 'input.invalid'],
    ['GET', '/.well-known/est/', 404, 'input.invalid'],
    ['GET', '/.well-known/est/toString', 404, 'input.invalid'],
    ['GET', '/.well-known/est/a/b/cacerts', 404, 'input.invalid'],
    ['GET', '/.well-known/est//cacerts', 404, 'enrolment.label-unknown'],
    ['GET', '/.well-known/est/slot/cacerts', 404, 'enrolment.label-unknown'],
    ['GET', '/.well-known/est/e%67m/cacerts', 404, 'enrolment.label-unknown'],
    ['HEAD', '/.well-known/est/cacerts', 405, 'input.invalid'],
    ['PUT', '/.well-known/est/egm/simpleenroll', 405, 'input.invalid'],
    ['POST', '/.well-known/est/serverkeygen', 501, 'input.invalid'],
    ['POST', '/.well-known/est/egm/fullcmc', 501, 'input.invalid'],
  ] as const)('given %s %s, when routed, then it is refused with %i', async (method, path, status, code) => {
    expect(await expectRefusal(code, () => routeOf(method, path, ['egm']))).toMatchObject({ status });
  });
});
