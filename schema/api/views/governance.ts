/** Operators, approvals and the policy. */
import { z } from 'zod';
import { ApprovalId, OperatorName, Sha256, Timestamp } from '../../ids.ts';
import { Action, Role } from '../../operators.ts';
import { JsonValue } from '../commands.ts';
import { PageLimit } from './common.ts';

export const OperatorView = z.object({
  name: OperatorName,
  role: Role,
  createdAt: Timestamp,
  createdBy: z.string(),
});
export type OperatorView = z.infer<typeof OperatorView>;
export const OperatorList = z.object({ items: z.array(OperatorView) });

/** The operator whose token was sent, and what the role may do. */
export const SelfView = OperatorView.extend({
  permissions: z.partialRecord(Action, z.enum(['execute', 'request', 'approve'])),
});
export type SelfView = z.infer<typeof SelfView>;

export const ApprovalStateName = z.enum(['pending', 'approved', 'refused', 'executed', 'failed', 'expired']);

export const ApprovalSummaryView = z.object({
  id: ApprovalId,
  action: Action,
  summary: z.string(),
  /** Hash of action and canonical request; an approver sends it back. */
  sha256: Sha256,
  requester: OperatorName,
  /** `expired` as soon as the time is over, decided or not. */
  state: ApprovalStateName,
  approver: OperatorName.nullable(),
  createdAt: Timestamp,
  expiresAt: Timestamp,
  decidedAt: Timestamp.nullable(),
});
export type ApprovalSummaryView = z.infer<typeof ApprovalSummaryView>;
export const ApprovalQuery = z.object({ state: ApprovalStateName.optional(), limit: PageLimit });
export const ApprovalList = z.object({ items: z.array(ApprovalSummaryView) });

export const ApprovalView = ApprovalSummaryView.extend({
  /** Exactly what was asked. */
  request: JsonValue,
  /** What came of it, or the error; null until it was executed. */
  result: JsonValue,
});
export type ApprovalView = z.infer<typeof ApprovalView>;

/** What deciding an approval answers. */
export const ApprovalAnswer = z.object({ approval: ApprovalView, result: JsonValue });
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;

export const PolicyView = z.object({
  version: z.int(),
  /** SHA-256 of the document; goes into `replaces` of the next one. */
  sha256: Sha256,
  /** The YAML as applied. */
  document: z.string(),
  appliedAt: Timestamp,
  appliedBy: z.string(),
});
export type PolicyView = z.infer<typeof PolicyView>;
/** Null while no policy was ever applied. */
export const PolicyAnswer = z.object({ policy: PolicyView.nullable() });

export const PolicyPlanView = z.object({
  /** SHA-256 of the document sent. */
  sha256: Sha256,
  /** SHA-256 of the policy in force; null for the first. Goes into `replaces`. */
  replaces: Sha256.nullable(),
  /** Lines that start with `+`, `-` or `~`; empty when nothing changes. */
  changes: z.array(z.string()),
  newKeySets: z.array(z.string()),
});
export type PolicyPlanView = z.infer<typeof PolicyPlanView>;
