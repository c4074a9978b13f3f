import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { BULK_LIMIT, decidePermission, MATRIX, requireApprover } from '#gateway/operators/matrix.ts';
import { ACTIONS, ROLES, type Action, type Role } from '#schema/operators.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

type Letter = 'E' | 'R' | 'A' | '-';

/** The table of docs/governance.md: Executes, Requests, Approves. In the order key admin, engineer, approver, auditor. */
const TABLE: Readonly<Record<Action, readonly [Letter, Letter, Letter, Letter]>> = {
  'policy.apply': ['R', '-', 'A', '-'],
  'operator.add': ['R', '-', 'A', '-'],
  'device.import': ['-', 'E', 'A', '-'],
  'device.ticket': ['-', 'E', 'A', '-'],
  'device.quarantine': ['E', 'E', '-', '-'],
  'device.revoke': ['E', 'E', '-', '-'],
  'device.release': ['R', 'R', 'A', '-'],
  'device.re-baseline': ['R', 'R', 'A', '-'],
  'enrolment.approve': ['-', 'E', '-', '-'],
  'enrolment.refuse': ['-', 'E', '-', '-'],
  'enrolment.campaign': ['R', 'R', 'A', '-'],
  'keyset.rotate': ['R', 'R', 'A', '-'],
  'keyset.retire': ['E', 'E', '-', '-'],
  'keyset.destroy': ['R', '-', 'A', '-'],
  'keyset.compromise': ['E', 'E', '-', '-'],
  'rollout.pause': ['E', 'E', '-', '-'],
  'rollout.resume': ['R', 'R', 'A', '-'],
  'rollout.abort': ['E', 'E', '-', '-'],
  'rollout.retry': ['E', 'E', '-', '-'],
  'rollout.exempt': ['E', 'E', '-', '-'],
  'rollout.sign-off': ['R', 'R', 'A', '-'],
  'trust.publish': ['R', '-', 'A', '-'],
  'trust.import': ['E', '-', '-', '-'],
  'authority.prepare': ['R', '-', 'A', '-'],
  'authority.install': ['R', '-', 'A', '-'],
  'authority.switch': ['R', '-', 'A', '-'],
  'authority.withdraw': ['R', '-', 'A', '-'],
  'alert.acknowledge': ['E', 'E', 'E', '-'],
  'approval.approve': ['-', '-', 'E', '-'],
  'approval.refuse': ['-', '-', 'E', '-'],
  'fleet.view': ['E', 'E', 'E', 'E'],
  'audit.read': ['-', '-', 'E', 'E'],
};

const cases = ACTIONS.flatMap((action) =>
  ROLES.map((role, column): [Action, Role, Letter] => [action, role, TABLE[action][column] ?? '-']),
);

describe('the role matrix', () => {
  test.each(cases)('%s by a %s: %s', async (action, role, letter) => {
    if (letter === 'E') expect(decidePermission(role, action)).toBe('execute');
    else if (letter === 'R') expect(decidePermission(role, action)).toBe('request');
    else await expectRefusal('operator.forbidden', () => decidePermission(role, action));
    if (letter === 'A') expect(() => requireApprover(role, action)).not.toThrow();
    else await expectRefusal('operator.forbidden', () => requireApprover(role, action));
  });

  test('docs/governance.md says the same', async () => {
    const guide = await readFile(new URL('../../../../docs/governance.md', import.meta.url), 'utf8');
    const LETTERS: Readonly<Record<string, Letter>> = { executes: 'E', requests: 'R', approves: 'A', '': '-' };
    const documented: Record<string, readonly Letter[]> = {};
    let before: readonly string[] = [];
    for (const [, what = '', ...cells] of guide.matchAll(
      /^\|([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|$/gm,
    )) {
      const letters = cells.map((cell) => LETTERS[cell.trim()] ?? '-');
      const named = [...what.matchAll(/`([a-z]+\.[a-z-]+)`/g)].map(([, action = '']) => action);
      for (const action of named) documented[action] = letters;
      // A second row for the same actions, above the bulk limit: who may do them at once has to ask.
      if (what.trim().startsWith('the same'))
        for (const action of before)
          documented[action] = letters.map(
            (letter, column) => (letter === 'R' ? documented[action]?.[column] : letter) ?? '-',
          );
      before = named;
    }
    expect(documented).toEqual(TABLE);
  });

  test('nobody both asks for an action and approves it', () => {
    for (const action of ACTIONS) {
      const row = Object.entries(MATRIX[action]);
      const asks = row.filter(([, permission]) => permission !== 'approve').map(([role]) => role);
      const approves = row.filter(([, permission]) => permission === 'approve').map(([role]) => role);
      expect(asks.filter((role) => approves.includes(role))).toEqual([]);
    }
  });

  test('whatever needs an approval has somebody who can give it', () => {
    for (const action of ACTIONS) {
      const permissions = Object.values(MATRIX[action]);
      if (permissions.includes('request')) expect(permissions, action).toContain('approve');
    }
  });

  test('containment takes one person, restoration takes two', () => {
    expect(decidePermission('device-engineer', 'device.quarantine')).toBe('execute');
    expect(decidePermission('device-engineer', 'device.release')).toBe('request');
  });

  test.each(['device.import', 'device.ticket'] as const)(
    '%s of more than the bulk limit needs an approval',
    (action) => {
      expect(decidePermission('device-engineer', action, BULK_LIMIT)).toBe('execute');
      expect(decidePermission('device-engineer', action, BULK_LIMIT + 1)).toBe('request');
    },
  );

  test('a refusal names the roles that may', async () => {
    const refusal = await expectRefusal('operator.forbidden', () => decidePermission('auditor', 'keyset.rotate'));
    expect(refusal.message).toBe('the role auditor may not do keyset.rotate; key-admin or device-engineer may');
  });
});
