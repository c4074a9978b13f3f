/** Records of operators, approvals and policies to their views. Pure. */
import { JsonValue } from '#schema/api/commands.ts';
import type { ApprovalSummaryView, ApprovalView, OperatorView, PolicyView, SelfView } from '#schema/api/views.ts';
import { Sha256 } from '#schema/ids.ts';
import { ACTIONS } from '#schema/operators.ts';
import { parseJson } from '#schema/parse.ts';
import { MATRIX } from '#gateway/operators/matrix.ts';
import type { PolicyRecord } from '#gateway/ports/store/governance.ts';
import type { ApprovalRecord, OperatorRecord } from '#gateway/ports/store/records.ts';
import { instant, instantOrNull } from './encode.ts';

export function operatorView({ name, role, createdAt, createdBy }: OperatorRecord): OperatorView {
  return { name, role, createdAt: instant(createdAt), createdBy };
}

export function selfView(operator: OperatorRecord): SelfView {
  const permissions: SelfView['permissions'] = {};
  for (const action of ACTIONS) {
    const permission = MATRIX[action][operator.role];
    if (permission !== undefined) permissions[action] = permission;
  }
  return { ...operatorView(operator), permissions };
}

/** Nobody can approve it any more, whether or not somebody tried. */
export function isOver({ state, expiresAt }: ApprovalRecord, now: Date): boolean {
  return state === 'pending' && now > expiresAt;
}

export function approvalSummaryView(approval: ApprovalRecord, now: Date): ApprovalSummaryView {
  return {
    id: approval.id,
    action: approval.action,
    summary: approval.summary,
    sha256: approval.sha256,
    requester: approval.requester,
    state: isOver(approval, now) ? 'expired' : approval.state,
    approver: approval.approver ?? null,
    createdAt: instant(approval.createdAt),
    expiresAt: instant(approval.expiresAt),
    decidedAt: instantOrNull(approval.decidedAt),
  };
}

/** Errors: `store.corrupt`. */
export function approvalView(approval: ApprovalRecord, now: Date): ApprovalView {
  const stored = (text: string): ApprovalView['request'] =>
    parseJson(JsonValue, text, 'store.corrupt', `approval request ${approval.id}`);
  return {
    ...approvalSummaryView(approval, now),
    request: stored(approval.request),
    result: approval.result === undefined ? null : stored(approval.result),
  };
}

export function policyView({ version, sha256, document, appliedAt, appliedBy }: PolicyRecord): PolicyView {
  return { version, sha256: Sha256.parse(sha256), document, appliedAt: instant(appliedAt), appliedBy };
}
