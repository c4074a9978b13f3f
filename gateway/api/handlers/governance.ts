/** Approvals, operators, the policy; the audit trail and the gateway itself. */
import { CroupierError, errorCode } from '#schema/errors.ts';
import { Sha256, type ApprovalId } from '#schema/ids.ts';
import type { ApprovalAnswer } from '#schema/api/views.ts';
import { planPolicy, policyHash } from '#gateway/operators/policy-command.ts';
import type { ApprovalRecord, OperatorRecord } from '#gateway/ports/store/records.ts';
import { auditHeadView } from '../views/audit.ts';
import { approvalSummaryView, approvalView, isOver, operatorView, policyView, selfView } from '../views/governance.ts';
import { pageFrom } from './page.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type GovernanceRoutes =
  | 'approval.list'
  | 'approval.show'
  | 'approval.approve'
  | 'approval.refuse'
  | 'operator.list'
  | 'operator.add'
  | 'policy.show'
  | 'policy.plan'
  | 'policy.apply'
  | 'audit.records'
  | 'audit.head'
  | 'status.show'
  | 'self.show';

export function governanceHandlers(ports: HandlerPorts): Pick<DocumentHandlers, GovernanceRoutes> {
  const { store, clock, feed, submit } = ports;

  const decide = async (
    operator: OperatorRecord,
    id: ApprovalId,
    verdict: 'approved' | 'refused',
    hash: Sha256 | undefined,
  ): Promise<ApprovalAnswer> => {
    try {
      const { approval, result } = await ports.decide(operator, id, verdict, hash);
      feed.publish({ type: 'approval', approval: id, state: verdict === 'approved' ? 'executed' : 'refused' });
      return { approval: approvalView(approval, clock.now()), result: JSON.parse(JSON.stringify(result)) };
    } catch (error) {
      if (errorCode(error) !== 'approval.closed' && (await store.approval(id))?.state === 'failed') {
        feed.publish({ type: 'approval', approval: id, state: 'failed' });
      }
      throw error;
    }
  };

  /** A request past its time is stored as pending until somebody tries to decide it. */
  const approvalsIn = async (state: ApprovalRecord['state'] | undefined, limit: number) => {
    const now = clock.now();
    if (state === 'pending') return (await store.approvals('pending', limit)).filter((one) => !isOver(one, now));
    if (state !== 'expired') return store.approvals(state, limit);
    const over = (await store.approvals('pending', limit)).filter((one) => isOver(one, now));
    const all = [...over, ...(await store.approvals('expired', limit))];
    return all.sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime()).slice(0, limit);
  };

  return {
    'approval.list': async ({ query: { state, limit } }) => {
      const now = clock.now();
      return { items: (await approvalsIn(state, limit)).map((approval) => approvalSummaryView(approval, now)) };
    },
    'approval.show': async ({ params: { id } }) => {
      const found = await store.approval(id);
      if (found === undefined) throw new CroupierError('approval.not-found', `there is no approval request ${id}`);
      return approvalView(found, clock.now());
    },
    'approval.approve': ({ params, body }, operator) => decide(operator, params.id, 'approved', body.sha256),
    'approval.refuse': ({ params }, operator) => decide(operator, params.id, 'refused', undefined),

    'operator.list': async () => ({ items: (await store.operators()).map(operatorView) }),
    'operator.add': ({ body }, operator) => submit(operator, 'operator.add', body),

    'policy.show': async () => {
      const current = await store.currentPolicy();
      return { policy: current === undefined ? null : policyView(current) };
    },
    'policy.plan': async ({ body: { document } }) => {
      const { changes, fresh } = await planPolicy(store, document);
      const replaces = (await store.currentPolicy())?.sha256;
      return {
        sha256: Sha256.parse(policyHash(document)),
        replaces: replaces === undefined ? null : Sha256.parse(replaces),
        changes: [...changes],
        newKeySets: fresh.map(({ name }) => name),
      };
    },
    'policy.apply': ({ body }, operator) => submit(operator, 'policy.apply', body),

    'audit.records': async ({ query: { after, limit } }) =>
      pageFrom(await store.auditRecords(after, limit + 1), limit, ({ seq }) => seq),
    'audit.head': () => auditHeadView(store),

    'status.show': () => ports.status(),
    'self.show': async (_, operator) => selfView(operator),
  };
}
