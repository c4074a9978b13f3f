import type { ApprovalId, KeySetName, OperatorName } from '#schema/ids.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { CroupierError } from '#schema/errors.ts';
import type { Policy } from '#schema/policy.ts';
import type { Role } from '#schema/operators.ts';
import type { ApprovalRecord, Audited, KeySetRecord, KeyVersionRecord, OperatorRecord } from './records.ts';

export interface PolicyRecord {
  readonly version: number;
  /** The YAML as applied. */
  readonly document: string;
  readonly sha256: string;
  readonly policy: Policy;
  readonly appliedAt: Date;
  readonly appliedBy: string;
}

/** What a policy changes about key sets: definitions with their first version where they are new. */
export interface KeySetChange {
  readonly keySet: Omit<KeySetRecord, 'versions' | 'revision' | 'createdAt'>;
  readonly first: KeyVersionRecord | undefined;
}

/** The database was put back from a backup: numbers given out after the backup are not known here. */
export interface Restoration {
  readonly at: Date;
  /** No version of a key set that begins after the restoration has a number up to this. */
  readonly numbersUpTo: number;
}

export type ApprovalOutcome =
  | ({
      readonly kind: 'decide';
      readonly state: 'approved' | 'refused' | 'expired';
      readonly approver: OperatorName | undefined;
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface GovernanceStore {
  /** The latest restoration from a backup, if there ever was one. */
  restoration(): Promise<Restoration | undefined>;
  /** Whether an enrolled device has reported since; also true when there is none that ever reported. */
  isHeardSince(at: Date): Promise<boolean>;
  currentPolicy(): Promise<PolicyRecord | undefined>;
  /** Stores the policy and its key sets at once and raises every due mark. */
  applyPolicy(
    policy: Omit<PolicyRecord, 'version'>,
    keySets: readonly KeySetChange[],
    removed: readonly KeySetName[],
    audit: AuditEvent,
  ): Promise<PolicyRecord>;
  operators(): Promise<readonly OperatorRecord[]>;
  operatorByTokenHash(hash: string): Promise<OperatorRecord | undefined>;
  operatorByName(name: OperatorName): Promise<OperatorRecord | undefined>;
  /** Errors: `operator.exists`. */
  addOperator(operator: OperatorRecord & { readonly tokenHash: string }, audit: AuditEvent): Promise<void>;
  countOperators(role: Role): Promise<number>;
  addApproval(approval: ApprovalRecord, audit: AuditEvent): Promise<void>;
  approval(id: ApprovalId): Promise<ApprovalRecord | undefined>;
  approvals(state: ApprovalRecord['state'] | undefined, limit: number): Promise<readonly ApprovalRecord[]>;
  decideApproval(
    id: ApprovalId,
    at: Date,
    decide: (approval: ApprovalRecord | undefined) => ApprovalOutcome,
  ): Promise<{ readonly outcome: ApprovalOutcome; readonly approval: ApprovalRecord | undefined }>;
  /** What came of an approved request. */
  finishApproval(id: ApprovalId, state: 'executed' | 'failed', result: string, audit: AuditEvent): Promise<void>;
}
