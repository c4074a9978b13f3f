import { describe, expect, test } from 'vitest';
import { APPROVAL_VALIDITY_MS, composeApproval, decideApproval, requestHash } from '#gateway/operators/approval.ts';
import type { ApprovalRecord, OperatorRecord } from '#gateway/ports/store/records.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { KeySetName } from '#schema/ids.ts';
import type { Role } from '#schema/operators.ts';
import { approvalId, operator, second } from '#test/support/store-fixtures.ts';

const person = (name: string, role: Role): OperatorRecord => operator(name, { role });
const ADA = person('ada', 'key-admin');
const HEDY = person('hedy', 'approver');

const request = { keySet: KeySetName.parse('wallet-kek'), reason: 'yearly' };
const { approval } = composeApproval(approvalId(1), 'keyset.rotate', 'rotate wallet-kek', request, ADA, second(0));

describe('an approval request', () => {
  test('holds the canonical request, its hash with the action, and a day of validity', () => {
    expect(approval.request).toBe('{"keySet":"wallet-kek","reason":"yearly"}');
    expect(approval.sha256).toBe(requestHash('keyset.rotate', approval.request));
    expect(approval.expiresAt.getTime() - approval.createdAt.getTime()).toBe(APPROVAL_VALIDITY_MS);
  });

  test('the hash binds the action too', () => {
    expect(requestHash('keyset.rotate', approval.request)).not.toBe(requestHash('keyset.destroy', approval.request));
  });
});

describe('deciding about it', () => {
  const decide = (
    over: Partial<ApprovalRecord> = {},
    by: OperatorRecord = HEDY,
    hash: string | undefined = approval.sha256,
    at: Date = second(1),
  ) => decideApproval({ ...approval, ...over }, by, 'approved', hash, at);

  test('another person with the right role, in time, with the hash of what was asked, may', () => {
    expect(decide()).toMatchObject({
      kind: 'decide',
      state: 'approved',
      approver: 'hedy',
      audit: [
        { action: 'approval.approve', outcome: 'success', approval: { hash: approval.sha256, approvers: ['hedy'] } },
      ],
    });
    expect(decide({}, HEDY, approval.sha256, approval.expiresAt).kind).toBe('decide');
  });

  const late = new Date(approval.expiresAt.getTime() + 1);
  const cases: [string, ReturnType<typeof decide>, ErrorCode][] = [
    ['the requester, even one who has become an approver', decide({}, { ...ADA, role: 'approver' }), 'approval.self'],
    ['a device engineer', decide({}, person('grace', 'device-engineer')), 'operator.forbidden'],
    ['an auditor', decide({}, person('mary', 'auditor')), 'operator.forbidden'],
    ['another key admin', decide({}, person('barbara', 'key-admin')), 'operator.forbidden'],
    ['after it has expired', decide({}, HEDY, approval.sha256, late), 'approval.expired'],
    ['with the hash of something else', decide({}, HEDY, '0'.repeat(64)), 'approval.hash-mismatch'],
    ['after the stored request was changed', decide({ request: '{"keySet":"other"}' }), 'approval.hash-mismatch'],
    ['after the stored action was changed', decide({ action: 'keyset.destroy' }), 'approval.hash-mismatch'],
    ['a second time', decide({ state: 'executed' }), 'approval.closed'],
    ['after it was refused', decide({ state: 'refused' }), 'approval.closed'],
    ['while it is being executed', decide({ state: 'approved' }), 'approval.closed'],
  ];
  test.each(cases)('is refused to %s', (_, outcome, code) => {
    expect(outcome).toMatchObject({
      kind: 'refuse',
      error: { code },
      audit: [{ action: 'approval.decide', outcome: 'denied', code }],
    });
  });

  test('a request that does not exist is refused, and audited', () => {
    const outcome = decideApproval(undefined, HEDY, 'approved', undefined, second(1));
    expect(outcome).toMatchObject({
      kind: 'refuse',
      error: { code: 'approval.not-found' },
      audit: [{ outcome: 'denied' }],
    });
  });

  test('refusing needs no hash, and names no approver in the record of the approval', () => {
    const outcome = decideApproval(approval, HEDY, 'refused', undefined, second(1));
    expect(outcome).toMatchObject({
      kind: 'decide',
      state: 'refused',
      audit: [{ action: 'approval.refuse', approval: { approvers: [] } }],
    });
  });
});
