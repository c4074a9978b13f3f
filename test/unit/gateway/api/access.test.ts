import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bearerToken } from '#gateway/api/access.ts';
import { createRequestLimit } from '#gateway/api/request-limit.ts';
import { MATRIX } from '#gateway/operators/matrix.ts';
import type { AuditRecord } from '#schema/audit.ts';
import { ROUTES, type RouteDefinition } from '#schema/api/routes.ts';
import { ROLES } from '#schema/operators.ts';
import { problemIn, someone, startApi, type ApiHarness } from './harness.ts';

const PARAMS = { id: '00000000-0000-4000-8000-000000000001', name: 'none', version: 9 };

describe('access to the operator API', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi({ limits: { failuresPerMinute: 1_000 } });
  });
  afterAll(() => api.close());

  const lastRecord = async (): Promise<AuditRecord | undefined> => {
    const { seq } = await api.store.auditHead();
    return (await api.store.auditRecords(seq - 1, 1))[0];
  };

  describe('every route against every role', () => {
    const routes = Object.entries<RouteDefinition>(ROUTES).filter(([, { answers }]) => answers !== 'events');
    const cases = routes.flatMap(([name, route]) => ROLES.map((role) => [name, role, route] as const));

    test.each(cases)('%s as %s', async (_, role, route) => {
      const person = someone(role);
      const permission = MATRIX[route.action][role];
      const path = route.path.replaceAll(/:([a-z]+)/g, (__, key: keyof typeof PARAMS) => String(PARAMS[key]));
      const before = (await api.store.auditHead()).seq;
      const answer = await api.fetch(route.method, path, { person });
      if (permission === 'execute' || permission === 'request') {
        expect(answer.status, answer.text).not.toBe(403);
        expect(answer.status, answer.text).not.toBe(401);
        expect(answer.status, answer.text).toBeLessThan(500);
      } else {
        expect(problemIn(answer)).toMatchObject({ status: 403, code: 'operator.forbidden' });
        expect((await api.store.auditHead()).seq).toBe(before + 1);
        expect(await lastRecord()).toMatchObject({
          action: route.action,
          outcome: 'denied',
          code: 'operator.forbidden',
          actor: { id: person, role },
        });
      }
    });
  });

  test.each(Object.entries<RouteDefinition>(ROUTES))('%s without a token is refused', async (_, { method, path }) => {
    const answer = await api.fetch(method, path);
    expect(problemIn(answer)).toMatchObject({ status: 401, code: 'operator.unauthenticated' });
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
  });

  test('a wrong token is refused and audited without the token, the right one is let in', async () => {
    const wrong = `${api.token('mary').slice(0, -1)}?`;
    const refused = await api.fetch('GET', '/v1/status', { headers: { authorization: `Bearer ${wrong}` } });
    expect(refused.status).toBe(401);
    const record = await lastRecord();
    expect(record).toMatchObject({
      action: 'operator.login',
      outcome: 'denied',
      actor: { type: 'anonymous', id: '127.0.0.1' },
      source: '127.0.0.1',
    });
    expect(JSON.stringify(record)).not.toContain(wrong.slice(9, 30));
    expect((await api.call('mary', 'status.show')).status).toBe(200);
  });

  test('who may not ask is refused before the body is read', async () => {
    const answer = await api.fetch('POST', '/v1/devices/import', { person: 'mary', raw: 'not even JSON' });
    expect(problemIn(answer).code).toBe('operator.forbidden');
  });

  test('the scheme is case-insensitive; anything but one bearer token is none', () => {
    expect(bearerToken('bEaReR abc-_~+/.==')).toBe('abc-_~+/.==');
    for (const header of [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      'Basic YTpi',
      'Bearer a b',
      'Bearer a,Bearer b',
      `Bearer ${'a'.repeat(300)}`,
    ]) {
      expect(bearerToken(header)).toBeUndefined();
    }
  });
});

describe('limits of the operator API', () => {
  test('given too many wrong tokens, the address waits, and what it causes is no longer audited', async () => {
    const api = await startApi({ limits: { failuresPerMinute: 3 } });
    try {
      for (let index = 0; index < 3; index += 1) expect((await api.fetch('GET', '/v1/status')).status).toBe(401);
      const { seq } = await api.store.auditHead();
      const throttled = await api.fetch('GET', '/v1/status');
      expect(problemIn(throttled)).toMatchObject({ status: 429, code: 'operator.rate-limited' });
      expect(Number(throttled.headers['retry-after'])).toBeGreaterThan(0);
      expect((await api.store.auditHead()).seq).toBe(seq);
    } finally {
      await api.close();
    }
  });

  test('given too many requests at once, the next one is asked to wait', async () => {
    const api = await startApi({ limits: { requestBurst: 2, requestsPerSecond: 0.001 } });
    try {
      expect((await api.call('mary', 'status.show')).status).toBe(200);
      expect((await api.fetch('GET', '/v1/openapi.json')).status).toBe(200);
      expect(problemIn(await api.call('mary', 'status.show')).code).toBe('operator.rate-limited');
    } finally {
      await api.close();
    }
  });

  test('each address has a bucket of its own, and forgotten ones start full', () => {
    const limit = createRequestLimit({ burst: 1, perSecond: 1 }, 2);
    expect(limit.take('a', 0)).toBe(true);
    expect(limit.take('a', 0)).toBe(false);
    expect(limit.take('b', 0)).toBe(true);
    expect(limit.take('a', 999)).toBe(false);
    expect(limit.take('a', 1_000)).toBe(true);
    expect(limit.take('c', 1_000)).toBe(true);
    expect(limit.take('b', 1_000)).toBe(true);
  });
});
