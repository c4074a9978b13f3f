/** Policy, operators, approvals. */
import { and, count, desc, eq, max } from 'drizzle-orm';
import { z } from 'zod';
import { parse as parseYaml } from 'yaml';
import { CroupierError } from '#schema/errors.ts';
import type { ApprovalId, KeySetName } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { Policy } from '#schema/policy.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import {
  approvals,
  deviceKeyVersions,
  devices,
  deviceSync,
  keySets,
  keyVersions,
  operators,
  policies,
} from '#schema/tables.ts';
import type { GovernanceStore, KeySetChange, PolicyRecord } from '#gateway/ports/store/governance.ts';
import type { ApprovalRecord } from '#gateway/ports/store/records.ts';
import { raiseDue } from './due.ts';
import { insertKeyVersion, nextRevision } from './key-sets.ts';
import { restorationOf } from './restoration.ts';
import { approvalRecord, Instant, ms, operatorRecord, reader } from './rows.ts';
import type { StoreContext } from './transaction.ts';

const policyRow = reader(
  z.object({ version: z.int(), document: z.string(), sha256: z.string(), appliedAt: Instant, appliedBy: z.string() }),
  'policies',
);

function parseDocument(document: string): Policy {
  let value: unknown;
  try {
    value = parseYaml(document);
  } catch (error) {
    throw new CroupierError('store.corrupt', 'Row of policies: the document is not YAML', { cause: error });
  }
  return parseWith(Policy, value, 'store.corrupt', 'Row of policies');
}

export function governanceStore({ db, transactions, clock, flushLog }: StoreContext): GovernanceStore {
  /** A version of the policy never changes, so its document is parsed once. */
  let parsed: { readonly version: number; readonly policy: Policy } | undefined;
  const policyOf = (version: number, document: string): Policy => {
    if (parsed?.version !== version) parsed = { version, policy: parseDocument(document) };
    return parsed.policy;
  };

  const currentPolicy = (): PolicyRecord | undefined => {
    const row = db.select().from(policies).orderBy(desc(policies.version)).limit(1).get();
    if (row === undefined) return undefined;
    const record = policyRow(row);
    return { ...record, policy: policyOf(record.version, record.document) };
  };

  const addKeySet = ({ keySet, first }: KeySetChange, at: Date): void => {
    const used = db
      .select({ version: max(deviceKeyVersions.version) })
      .from(deviceKeyVersions)
      .where(eq(deviceKeyVersions.keySet, keySet.name))
      .get();
    const highest = used?.version ?? 0;
    if (first !== undefined && first.version <= highest) {
      // A device keeps in mind which versions it destroyed: a number never names two keys.
      throw new CroupierError(
        'keyset.state-refused',
        `A key set ${keySet.name} existed before and devices know its versions up to ${highest}; choose another name`,
        { detail: { keySet: keySet.name, highest } },
      );
    }
    db.insert(keySets)
      .values({ name: keySet.name, ...definition(keySet), revision: at.getTime(), createdAt: at.getTime() })
      .run();
    if (first !== undefined) insertKeyVersion(db, first);
  };

  const changeKeySet = ({ keySet, first }: KeySetChange, at: Date): void => {
    const before = db.select().from(keySets).where(eq(keySets.name, keySet.name)).get();
    if (before === undefined) {
      addKeySet({ keySet, first }, at);
      return;
    }
    const after = definition(keySet);
    const { algorithm, use, scope, selector, cryptoperiod } = before;
    const same = canonicalJson({ algorithm, use, scope, selector, cryptoperiod }) === canonicalJson(after);
    if (same && first === undefined) return;
    db.update(keySets)
      .set({ ...after, revision: nextRevision(at) })
      .where(eq(keySets.name, keySet.name))
      .run();
    if (first !== undefined) insertKeyVersion(db, first);
  };

  const removeKeySet = (name: KeySetName): void => {
    db.delete(keyVersions).where(eq(keyVersions.keySet, name)).run();
    db.delete(keySets).where(eq(keySets.name, name)).run();
  };

  const approval = (id: ApprovalId): ApprovalRecord | undefined => {
    const row = db.select().from(approvals).where(eq(approvals.id, id)).get();
    return row === undefined ? undefined : approvalRecord(row);
  };

  return {
    async restoration() {
      return transactions.read(() => restorationOf(db));
    },

    async isHeardSince(at) {
      return transactions.read(() => {
        const reporting = db
          .select({ last: max(deviceSync.lastReportAt) })
          .from(deviceSync)
          .innerJoin(devices, eq(devices.id, deviceSync.device))
          .where(eq(devices.state, 'enrolled'))
          .get();
        const last = reporting?.last ?? undefined;
        return last === undefined || last >= at.getTime();
      });
    },

    async currentPolicy() {
      return transactions.read(currentPolicy);
    },

    async applyPolicy({ document, sha256, policy, appliedAt, appliedBy }, changes, removed, audit) {
      const applied = await transactions.write((journal) => {
        const version = (currentPolicy()?.version ?? 0) + 1;
        db.insert(policies).values({ version, document, sha256, appliedAt: appliedAt.getTime(), appliedBy }).run();
        for (const change of changes) changeKeySet(change, appliedAt);
        for (const name of removed) removeKeySet(name);
        raiseDue(db, undefined, appliedAt);
        journal([audit], appliedAt);
        return { version, document, sha256, policy, appliedAt, appliedBy };
      });
      if (removed.length > 0) flushLog();
      return applied;
    },

    async operators() {
      return transactions.read(() => db.select().from(operators).orderBy(operators.name).all().map(operatorRecord));
    },

    async operatorByTokenHash(hash) {
      return transactions.read(() => {
        const row = db.select().from(operators).where(eq(operators.tokenHash, hash)).get();
        return row === undefined ? undefined : operatorRecord(row);
      });
    },

    async operatorByName(name) {
      return transactions.read(() => {
        const row = db.select().from(operators).where(eq(operators.name, name)).get();
        return row === undefined ? undefined : operatorRecord(row);
      });
    },

    async addOperator({ name, role, tokenHash, createdAt, createdBy }, audit) {
      await transactions.write((journal) => {
        const row = { name, role, tokenHash, createdAt: createdAt.getTime(), createdBy };
        const added = db.insert(operators).values(row).onConflictDoNothing({ target: operators.name }).run();
        if (added.changes === 0) throw new CroupierError('operator.exists', `Operator ${name} exists already`);
        journal([audit], createdAt);
      });
    },

    async countOperators(role) {
      return transactions.read(
        () => db.select({ operators: count() }).from(operators).where(eq(operators.role, role)).get()?.operators ?? 0,
      );
    },

    async addApproval(added, audit) {
      await transactions.write((journal) => {
        db.insert(approvals)
          .values({
            ...added,
            createdAt: added.createdAt.getTime(),
            expiresAt: added.expiresAt.getTime(),
            decidedAt: ms(added.decidedAt),
          })
          .run();
        journal([audit], added.createdAt);
      });
    },

    async approval(id) {
      return transactions.read(() => approval(id));
    },

    async approvals(state, limit) {
      return transactions.read(() =>
        db
          .select()
          .from(approvals)
          .where(state === undefined ? undefined : eq(approvals.state, state))
          .orderBy(desc(approvals.createdAt), desc(approvals.id))
          .limit(limit)
          .all()
          .map(approvalRecord),
      );
    },

    async decideApproval(id, at, decide) {
      return transactions.write((journal) => {
        const outcome = decide(approval(id));
        if (outcome.kind === 'decide') {
          const { state, approver } = outcome;
          db.update(approvals)
            .set({ state, approver: approver ?? null, decidedAt: at.getTime() })
            .where(eq(approvals.id, id))
            .run();
        }
        journal(outcome.audit, at);
        return { outcome, approval: approval(id) };
      });
    },

    async finishApproval(id, state, result, audit) {
      await transactions.write((journal) => {
        const finished = db
          .update(approvals)
          .set({ state, result })
          .where(and(eq(approvals.id, id), eq(approvals.state, 'approved')))
          .run();
        if (finished.changes === 0) throw notApproved(id, approval(id));
        journal([audit], clock.now());
      });
    },
  };
}

function notApproved(id: ApprovalId, found: ApprovalRecord | undefined): CroupierError {
  if (found === undefined) return new CroupierError('approval.not-found', `There is no approval request ${id}`);
  return new CroupierError('approval.closed', `Approval request ${id} is ${found.state}, not approved`);
}

/** The columns that a policy defines. */
function definition({ algorithm, use, scope, selector, cryptoperiodMs }: KeySetChange['keySet']) {
  return { algorithm, use, scope, selector: canonicalJson(selector), cryptoperiod: cryptoperiodMs };
}
