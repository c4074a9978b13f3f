/** Who may do what (docs/governance.md). Deny by default: what is not in the table is refused. */
import { CroupierError } from '#schema/errors.ts';
import type { Action, Role } from '#schema/operators.ts';

/** `execute`: at once. `request`: another person with `approve` has to agree first. */
export type Permission = 'execute' | 'request' | 'approve';

type Row = Readonly<Partial<Record<Role, Permission>>>;

const KEY_CHANGE: Row = { 'key-admin': 'request', approver: 'approve' };
const CONTAINMENT: Row = { 'key-admin': 'execute', 'device-engineer': 'execute' };

export const MATRIX: Readonly<Record<Action, Row>> = {
  'policy.apply': KEY_CHANGE,
  'operator.add': KEY_CHANGE,
  'device.import': { 'device-engineer': 'execute', approver: 'approve' },
  'device.ticket': { 'device-engineer': 'execute', approver: 'approve' },
  'device.quarantine': CONTAINMENT,
  'device.revoke': CONTAINMENT,
  'device.release': { 'device-engineer': 'request', 'key-admin': 'request', approver: 'approve' },
  'device.re-baseline': { 'device-engineer': 'request', 'key-admin': 'request', approver: 'approve' },
  'enrolment.approve': { 'device-engineer': 'execute' },
  'enrolment.refuse': { 'device-engineer': 'execute' },
  'enrolment.campaign': { 'key-admin': 'request', 'device-engineer': 'request', approver: 'approve' },
  'keyset.rotate': { 'key-admin': 'request', 'device-engineer': 'request', approver: 'approve' },
  'keyset.retire': { 'key-admin': 'execute', 'device-engineer': 'execute' },
  'keyset.destroy': KEY_CHANGE,
  'keyset.compromise': CONTAINMENT,
  'rollout.pause': CONTAINMENT,
  'rollout.resume': { 'key-admin': 'request', 'device-engineer': 'request', approver: 'approve' },
  'rollout.abort': CONTAINMENT,
  'rollout.retry': CONTAINMENT,
  'rollout.exempt': CONTAINMENT,
  'rollout.sign-off': { 'key-admin': 'request', 'device-engineer': 'request', approver: 'approve' },
  'trust.publish': KEY_CHANGE,
  'trust.import': { 'key-admin': 'execute' },
  'authority.prepare': KEY_CHANGE,
  'authority.install': KEY_CHANGE,
  'authority.switch': KEY_CHANGE,
  'authority.withdraw': KEY_CHANGE,
  'alert.acknowledge': { 'key-admin': 'execute', 'device-engineer': 'execute', approver: 'execute' },
  'approval.approve': { approver: 'execute' },
  'approval.refuse': { approver: 'execute' },
  'fleet.view': { 'key-admin': 'execute', 'device-engineer': 'execute', approver: 'execute', auditor: 'execute' },
  'audit.read': { auditor: 'execute', approver: 'execute' },
};

/** More devices than this in one import or one batch of tickets need an approval. */
export const BULK_LIMIT = 50;

/** What becomes of a request: done at once, or parked until somebody approves. Errors: `operator.forbidden`. */
export function decidePermission(role: Role, action: Action, count = 1): 'execute' | 'request' {
  const permission = MATRIX[action][role];
  if (permission === undefined || permission === 'approve') {
    const may = Object.entries(MATRIX[action]).flatMap(([name, value]) => (value === 'approve' ? [] : [name]));
    throw new CroupierError('operator.forbidden', `the role ${role} may not do ${action}; ${may.join(' or ')} may`);
  }
  if (permission === 'execute' && count > BULK_LIMIT && (action === 'device.import' || action === 'device.ticket'))
    return 'request';
  return permission;
}

/** Errors: `operator.forbidden`. */
export function requireApprover(role: Role, action: Action): void {
  if (MATRIX[action][role] === 'approve') return;
  const may = Object.entries(MATRIX[action]).flatMap(([name, value]) => (value === 'approve' ? [name] : []));
  throw new CroupierError('operator.forbidden', `the role ${role} may not approve ${action}; ${may.join(' or ')} may`);
}
