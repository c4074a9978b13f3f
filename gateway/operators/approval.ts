/** Approvals: bound to the hash of exactly what was asked, short-lived, never by the requester (D§10). Pure. */
import { createHash } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { Sha256, type ApprovalId } from '#schema/ids.ts';
import type { Action } from '#schema/operators.ts';
import { canonicalJson, type Json } from '#schema/runtime/canonical-json.ts';
import type { ApprovalOutcome } from '#gateway/ports/store/governance.ts';
import type { ApprovalRecord, OperatorRecord } from '#gateway/ports/store/records.ts';
import { requireApprover } from './matrix.ts';

export const APPROVAL_VALIDITY_MS = 24 * 3_600_000;

/** Hash of what was asked: action and canonical request together. */
export function requestHash(action: Action, request: string): Sha256 {
  return Sha256.parse(createHash('sha256').update(`${action}\n${request}`).digest('hex'));
}

export function actorOf(operator: OperatorRecord): AuditActor {
  return { type: 'operator', id: operator.name, role: operator.role };
}

export function composeApproval(
  id: ApprovalId,
  action: Action,
  summary: string,
  request: Json,
  requester: OperatorRecord,
  now: Date,
): { readonly approval: ApprovalRecord; readonly audit: AuditEvent } {
  const text = canonicalJson(request);
  const sha256 = requestHash(action, text);
  return {
    approval: {
      id,
      action,
      summary,
      request: text,
      sha256,
      requester: requester.name,
      state: 'pending',
      approver: undefined,
      createdAt: now,
      expiresAt: new Date(now.getTime() + APPROVAL_VALIDITY_MS),
      decidedAt: undefined,
      result: undefined,
    },
    audit: {
      action: 'approval.request',
      outcome: 'success',
      actor: actorOf(requester),
      object: { type: 'approval', id },
      details: { action, sha256, summary },
    },
  };
}

function refuse(approval: ApprovalRecord | undefined, operator: OperatorRecord, error: CroupierError): ApprovalOutcome {
  return {
    kind: 'refuse',
    error,
    audit: [
      {
        action: 'approval.decide',
        outcome: 'denied',
        code: error.code,
        actor: actorOf(operator),
        ...(approval === undefined
          ? {}
          : { object: { type: 'approval', id: approval.id }, details: { action: approval.action } }),
      },
    ],
  };
}

/** `hash` is what the approver saw; it must be what is stored and what the stored request hashes to. */
export function decideApproval(
  approval: ApprovalRecord | undefined,
  operator: OperatorRecord,
  verdict: 'approved' | 'refused',
  hash: string | undefined,
  now: Date,
): ApprovalOutcome {
  if (approval === undefined) return refuse(approval, operator, new CroupierError('approval.not-found'));
  if (approval.state !== 'pending')
    return refuse(approval, operator, new CroupierError('approval.closed', `the request is ${approval.state} already`));
  if (now > approval.expiresAt)
    return refuse(
      approval,
      operator,
      new CroupierError('approval.expired', `the request expired at ${approval.expiresAt.toISOString()}`),
    );
  if (approval.requester === operator.name) return refuse(approval, operator, new CroupierError('approval.self'));
  try {
    requireApprover(operator.role, approval.action);
  } catch (error) {
    if (error instanceof CroupierError) return refuse(approval, operator, error);
    throw error;
  }
  const stored = requestHash(approval.action, approval.request);
  if (stored !== approval.sha256 || (hash !== undefined && hash !== stored))
    return refuse(approval, operator, new CroupierError('approval.hash-mismatch'));
  return {
    kind: 'decide',
    state: verdict,
    approver: operator.name,
    audit: [
      {
        action: `approval.${verdict === 'approved' ? 'approve' : 'refuse'}`,
        outcome: 'success',
        actor: actorOf(operator),
        object: { type: 'approval', id: approval.id },
        approval: { id: approval.id, hash: approval.sha256, approvers: verdict === 'approved' ? [operator.name] : [] },
        details: { action: approval.action, summary: approval.summary },
      },
    ],
  };
}
