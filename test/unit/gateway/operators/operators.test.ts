import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { authenticate, foundOperator, hashToken, makeToken } from '#gateway/operators/operator-command.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { ROLES, type Role } from '#schema/operators.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { seededRandom, systemRandom } from '#schema/runtime/random.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { operatorName, REALM } from '#test/support/store-fixtures.ts';

describe('operators', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openSqliteStore({ path: ':memory:', realm: REALM, clock: systemClock, busyTimeoutMs: 100 });
  });
  afterEach(() => store.close());

  const found = (name: string, role: Role, token = makeToken(systemRandom)): Promise<void> =>
    foundOperator(
      store,
      systemClock,
      { name: operatorName(name), role, tokenHash: hashToken(token) },
      { type: 'console', id: 'root' },
    );

  test('a token has 256 random bits and a prefix that scanners find', () => {
    expect(makeToken(seededRandom('a'))).toMatch(/^croupier_[A-Za-z0-9_-]{43}$/);
    expect(makeToken(systemRandom)).not.toBe(makeToken(systemRandom));
  });

  test('an operator is known by the token, and by nothing else', async () => {
    const token = makeToken(systemRandom);
    await found('ada', 'key-admin', token);
    expect(await authenticate(store, token)).toMatchObject({ name: 'ada', role: 'key-admin' });
    for (const wrong of [
      undefined,
      '',
      'ada',
      `${token} `,
      token.slice(0, -1),
      hashToken(token),
      token.toLowerCase(),
    ]) {
      await expectRefusal('operator.unauthenticated', () => authenticate(store, wrong));
    }
  });

  test('the token itself is nowhere in the store', async () => {
    const token = makeToken(systemRandom);
    await found('ada', 'key-admin', token);
    const all = JSON.stringify([await store.operators(), await store.auditRecords(0, 10)]);
    expect(all).toContain('ada');
    expect(all).not.toContain(token);
  });

  test.each(ROLES)('the first %s is founded by whoever owns the data directory, a second one is not', async (role) => {
    await found('first', role);
    await expectRefusal('approval.required', () => found('second', role));
    expect(await store.countOperators(role)).toBe(1);
    expect(await store.auditRecords(0, 10)).toMatchObject([
      { action: 'operator.add', actor: { type: 'console' }, object: { id: 'first' }, details: { role } },
    ]);
  });

  test('one name is one person: nobody gets a second role', async () => {
    await found('ada', 'key-admin');
    await expectRefusal('operator.exists', () => found('ada', 'approver'));
    expect(await store.countOperators('approver')).toBe(0);
  });
});
