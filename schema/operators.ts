/** Roles and actions of operators; who may do what is the table of `gateway/operators/matrix.ts`. */
import { z } from 'zod';

export const ROLES = ['key-admin', 'device-engineer', 'approver', 'auditor'] as const;
export const Role = z.enum(ROLES);
export type Role = z.infer<typeof Role>;

/** Everything that an operator can do. The names stand in audit records and approval requests. */
export const ACTIONS = [
  'policy.apply',
  'operator.add',
  'device.import',
  'device.ticket',
  'device.quarantine',
  'device.release',
  'device.revoke',
  'device.re-baseline',
  'enrolment.approve',
  'enrolment.refuse',
  'enrolment.campaign',
  'keyset.rotate',
  'keyset.retire',
  'keyset.destroy',
  'keyset.compromise',
  'rollout.pause',
  'rollout.resume',
  'rollout.abort',
  'rollout.retry',
  'rollout.exempt',
  'rollout.sign-off',
  'trust.publish',
  'trust.import',
  'authority.prepare',
  'authority.install',
  'authority.switch',
  'authority.withdraw',
  'alert.acknowledge',
  'approval.approve',
  'approval.refuse',
  'fleet.view',
  'audit.read',
] as const;
export const Action = z.enum(ACTIONS);
export type Action = z.infer<typeof Action>;
