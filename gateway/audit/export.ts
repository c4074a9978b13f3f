/** The audit trail as a file: a head line, then every record, each checkpoint behind the record it seals. */
import { Buffer } from 'node:buffer';
import type { AuditExportLine } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AuditStore, StoredCheckpoint } from '#gateway/ports/store/audit.ts';

export interface AuditExportPorts {
  readonly store: AuditStore;
  readonly clock: Clock;
  readonly realm: Realm;
  /** Root certificate, DER: for readers who pin its fingerprint. */
  readonly root: () => Uint8Array;
  /** Seals what is not sealed yet, so that the file has no unsealed tail; one that fails is done without. */
  readonly seal?: () => Promise<void>;
}

/** Records, and checkpoints, read at a time: memory stays the same however long the trail is. */
const PAGE = 500;
const CHECKPOINT_PAGE = 200;

/** Checkpoints after `after`, ascending, read page by page as they are asked for. */
async function* checkpointsFrom(store: AuditStore, after: number): AsyncGenerator<StoredCheckpoint> {
  for (let from = after; ;) {
    const page = await store.checkpoints(from, CHECKPOINT_PAGE);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < CHECKPOINT_PAGE) return;
    from = last.seq;
  }
}

/**
 * The lines of an export from record `first` to the record that is the last one now; what is written meanwhile is left
 * out, and the head line says both numbers. Nothing is verified. Errors: `input.invalid` when the trail does not reach
 * `first`, `audit.broken` when a stored row is not what was written, `store.unavailable`.
 */
export async function* exportAudit(
  ports: AuditExportPorts,
  first = 1,
): AsyncGenerator<AuditExportLine, void, undefined> {
  const { store, clock, realm } = ports;
  // With the HSM away there is a tail without a seal, and verification says so.
  await ports.seal?.().catch(() => {});
  const { seq: last } = await store.auditHead();
  if (first > last) {
    throw new CroupierError('input.invalid', `the audit trail has ${last} records; it does not reach ${first}`);
  }
  const root = Buffer.from(ports.root()).toString('base64');
  yield { kind: 'head', realm, root, exportedAt: clock.now().toISOString(), first, last };

  const checkpoints = checkpointsFrom(store, first - 1);
  let checkpoint = await checkpoints.next();
  for (let after = first - 1; after < last;) {
    const page = await store.auditRecords(after, Math.min(PAGE, last - after));
    if (page.length === 0) throw new CroupierError('audit.broken', `Audit record ${after + 1} is missing`);
    for (const record of page) {
      yield { kind: 'record', record };
      after = record.seq;
      while (checkpoint.done !== true && checkpoint.value.seq <= after) {
        yield { kind: 'checkpoint', cms: Buffer.from(checkpoint.value.cms).toString('base64') };
        checkpoint = await checkpoints.next();
      }
    }
  }
}
