/**
 * The chain of audit records: each holds the hash of the one before, so that nothing can be altered, left out or put
 * in between without breaking every later hash. Cutting off the tail is what signed checkpoints are for.
 */
import { createHash } from 'node:crypto';
import { AUDIT_GENESIS, AuditRecord, type AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import { Sha256, type Realm } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';

/** Where a chain ends: number and hash of its last record. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

/** The head of the empty chain. */
export const CHAIN_START: ChainHead = { seq: 0, hash: AUDIT_GENESIS };

/** A record as its hash sees it. */
export const UnhashedRecord = AuditRecord.omit({ hash: true });
export type UnhashedRecord = Omit<AuditRecord, 'hash'>;

const hashOf = (text: string): Sha256 => Sha256.parse(createHash('sha256').update(text).digest('hex'));

/** SHA-256, hex, of the canonical JSON (RFC 8785) of a record without its `hash` member. */
export function recordHash(record: UnhashedRecord): Sha256 {
  return hashOf(canonicalJson(record));
}

/**
 * The record that follows `prev`, and the canonical JSON that its hash is over. Errors: `internal.unexpected` for an
 * event that breaks the schema of records, since a record that cannot be read back would break the chain for ever.
 */
export function nextLink(
  prev: ChainHead,
  event: AuditEvent,
  at: Date,
  id: string,
  realm: Realm,
): { readonly record: AuditRecord; readonly hashed: string } {
  const body = { ...event, seq: prev.seq + 1, id, time: at.toISOString(), realm, prevHash: prev.hash };
  const parsed = parseWith(UnhashedRecord, body, 'internal.unexpected', 'audit event');
  const hashed = canonicalJson(parsed);
  return { record: { ...parsed, hash: hashOf(hashed) }, hashed };
}

/** The record that follows `prev`. Errors: as `nextLink`. */
export function nextRecord(prev: ChainHead, event: AuditEvent, at: Date, id: string, realm: Realm): AuditRecord {
  return nextLink(prev, event, at, id, realm).record;
}

/**
 * Follows `records` from `after` and returns the head they lead to. Verified on return: numbers without gaps, every
 * hash, every link and one realm. Not verified: that the chain is the one that was signed (checkpoints) and that
 * nothing is missing at its end. Errors: `audit.broken`, naming the first record that does not fit.
 */
export function verifyChain(records: Iterable<AuditRecord>, after: ChainHead = CHAIN_START): ChainHead {
  let head = after;
  let realm: string | undefined;
  for (const record of records) {
    const { hash, ...body } = record;
    const fault = linkFault(head, record, realm, hash === recordHash(body));
    if (fault !== undefined) {
      throw new CroupierError('audit.broken', `Audit record ${record.seq}: ${fault}`, { detail: { seq: record.seq } });
    }
    realm = record.realm;
    head = { seq: record.seq, hash };
  }
  return head;
}

function linkFault(
  head: ChainHead,
  record: AuditRecord,
  realm: string | undefined,
  hashHolds: boolean,
): string | undefined {
  if (record.seq !== head.seq + 1) return `it follows record ${head.seq}, so records are missing or out of order`;
  if (record.prevHash !== head.hash) return 'it does not hold the hash of the record before';
  if (!hashHolds) return 'its hash is not that of its content';
  if (realm !== undefined && record.realm !== realm) return `it belongs to another realm than the records before`;
  return undefined;
}
