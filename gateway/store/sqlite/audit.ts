/** The audit chain and its checkpoints. */
import { randomUUIDv7 } from 'node:crypto';
import { asc, desc, gt, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { z } from 'zod';
import type { AuditRecord } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import { Sha256, type Realm } from '#schema/ids.ts';
import { parseJson, parseWith } from '#schema/parse.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { auditCheckpoints, auditRecords } from '#schema/tables.ts';
import { CHAIN_START, nextLink, UnhashedRecord, type ChainHead } from '#gateway/audit/chain.ts';
import type { AlertRecord, AuditStore, StoredCheckpoint } from '#gateway/ports/store/audit.ts';
import { alertNote, alertStore } from './alerts.ts';
import { auditFault } from './faults.ts';
import { stepNote } from './rollout-history.ts';
import { blob, reader } from './rows.ts';
import type { Statements } from './statement.ts';
import type { AuditJournal, StoreContext } from './transaction.ts';
import { webhookStore } from './webhooks.ts';

const headColumns = z.tuple([z.int(), z.string()]).transform(([seq, hash]) => ({ seq, hash }));

function headQuery(db: BetterSQLite3Database, statements: Statements): () => ChainHead {
  const { seq, hash } = auditRecords;
  const latest = db.select({ seq, hash }).from(auditRecords).orderBy(desc(seq));
  const read = statements.first(latest, reader(headColumns, 'audit_records'));
  return () => read() ?? CHAIN_START;
}

/**
 * Appends to the chain inside the transaction that is open, and notes the alerts and the steps of rollouts that come of
 * it. The head is always read from the table.
 */
export function auditJournal(db: BetterSQLite3Database, statements: Statements, realm: Realm): AuditJournal {
  const readHead = headQuery(db, statements);
  const note = alertNote(db, statements);
  const noteStep = stepNote({ db, statements });
  const insert = statements.change(
    db
      .insert(auditRecords)
      .values({ seq: sql.placeholder('seq'), hash: sql.placeholder('hash'), record: sql.placeholder('record') }),
  );
  return (events, at) => {
    if (events.length === 0) return [];
    try {
      const raised: AlertRecord[] = [];
      let head = readHead();
      for (const event of events) {
        const { record, hashed } = nextLink(head, event, at, randomUUIDv7(), realm);
        insert({ seq: record.seq, hash: record.hash, record: hashed });
        head = record;
        noteStep(record, at);
        const alert = note(record, at);
        if (alert !== undefined) raised.push(alert);
      }
      return raised;
    } catch (error) {
      throw auditFault(error);
    }
  };
}

/** A stored record. It must be its own canonical form, so that no member hides from the hash. */
function recordOf(row: { readonly seq: number; readonly hash: string; readonly record: string }): AuditRecord {
  const what = `Audit record ${row.seq}`;
  const body = parseJson(UnhashedRecord, row.record, 'audit.broken', what);
  const hash = parseWith(Sha256, row.hash, 'audit.broken', what);
  if (body.seq !== row.seq || canonicalJson(body) !== row.record) {
    throw new CroupierError('audit.broken', `${what}: the row is not the record that was written`, {
      detail: { seq: row.seq },
    });
  }
  return { ...body, hash };
}

const checkpointOf: (row: unknown) => StoredCheckpoint = reader(
  z.object({ seq: z.int(), cms: z.instanceof(Uint8Array), sha256: z.string() }),
  'audit_checkpoints',
);

export function auditStore(context: StoreContext): AuditStore {
  const { db, statements, transactions } = context;
  const readHead = headQuery(db, statements);
  return {
    ...alertStore(context),
    ...webhookStore(context),

    async appendAudit(events, at) {
      await transactions.write((journal) => journal(events, at));
    },

    async auditHead() {
      return transactions.read(readHead);
    },

    async auditRecords(after, limit) {
      return transactions.read(() =>
        db
          .select()
          .from(auditRecords)
          .where(gt(auditRecords.seq, after))
          .orderBy(asc(auditRecords.seq))
          .limit(limit)
          .all()
          .map(recordOf),
      );
    },

    watchAudit(watcher) {
      return transactions.watch(watcher);
    },

    async latestCheckpoint() {
      return transactions.read(() => {
        const row = db.select().from(auditCheckpoints).orderBy(desc(auditCheckpoints.seq)).limit(1).get();
        return row === undefined ? undefined : checkpointOf(row);
      });
    },

    async addCheckpoint(checkpoint, at) {
      const { seq, cms, sha256 } = checkpoint;
      await transactions.write(() => {
        db.insert(auditCheckpoints)
          .values({ seq, cms: blob(cms), sha256, createdAt: at.getTime() })
          .run();
      });
    },

    async checkpoints(after, limit) {
      return transactions.read(() =>
        db
          .select()
          .from(auditCheckpoints)
          .where(gt(auditCheckpoints.seq, after))
          .orderBy(asc(auditCheckpoints.seq))
          .limit(limit)
          .all()
          .map(checkpointOf),
      );
    },
  };
}
