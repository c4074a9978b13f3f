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
  'enrolment.approve',
  'enrolment.refuse',
  'keyset.rotate',
  'keyset.retire',
  'keyset.destroy',
  'rollout.pause',
  'rollout.resume',
  'trust.publish',
  'approval.approve',
  'approval.refuse',
  'fleet.view',
  'audit.read',
] as const;
export const Action = z.enum(ACTIONS);
export type Action = z.infer<typeof Action>;
