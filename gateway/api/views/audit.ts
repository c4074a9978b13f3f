/** Where the audit chain ends and how far it is sealed. */
import type { AuditHeadView } from '#schema/api/views.ts';
import { Sha256 } from '#schema/ids.ts';
import type { AuditStore } from '#gateway/ports/store/audit.ts';

export async function auditHeadView(store: AuditStore): Promise<AuditHeadView> {
  const checkpoint = await store.latestCheckpoint();
  const head = await store.auditHead();
  return {
    seq: head.seq,
    hash: Sha256.parse(head.hash),
    checkpoint: checkpoint === undefined ? null : { seq: checkpoint.seq, sha256: Sha256.parse(checkpoint.sha256) },
  };
}
