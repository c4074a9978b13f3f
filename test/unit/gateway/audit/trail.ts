/** An audit trail with checkpoints, and its export as lines. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCheckpointer, type Checkpointer } from '#gateway/audit/checkpoint.ts';
import { exportAudit } from '#gateway/audit/export.ts';
import { silentLog, type Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { OperationalKind } from '#pki/ceremony/operational.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { event, REALM } from '#test/support/store-fixtures.ts';
import { createTestPki, currentSecond, type TestPki } from '#test/support/test-pki.ts';

export interface Trail {
  readonly store: Store;
  readonly clock: ManualClock;
  readonly pki: TestPki;
  readonly signer: MessageSigner;
  readonly checkpointer: Checkpointer;
  readonly logged: string[];
  /** Writes so many records. */
  write(records: number): Promise<void>;
  exported(first?: number): Promise<string[]>;
  close(): Promise<void>;
}

/** A signer of this kind under the realm's Operations CA. */
export async function operationalSigner(pki: TestPki, kind: OperationalKind, label: string): Promise<MessageSigner> {
  const signer = await pki.hsm.generateSigningKey(label, 'EC-P256');
  const { certificate } = await pki.issueOperational({ kind, commonName: label, spki: signer.spki, keyLabel: label });
  return { signer, certificate, chain: [pki.operationsCa.certificate] };
}

export async function startTrail(limits: { every?: number; records?: number } = {}): Promise<Trail> {
  const directory = mkdtempSync(join(tmpdir(), 'croupier-audit-'));
  const clock = new ManualClock(currentSecond());
  const store = await openSqliteStore({
    path: join(directory, 'croupier.db'),
    realm: REALM,
    clock,
    busyTimeoutMs: 1_000,
  });
  const pki = await createTestPki({ realm: REALM, now: clock.now() });
  const signer = await operationalSigner(pki, 'audit-signer', 'audit-signer-1');
  const logged: string[] = [];
  const note = (_: object, message: string): void => void logged.push(message);
  const log: Log = { ...silentLog, warn: note, error: note };
  const { every = 60_000, records = 1_000 } = limits;
  const checkpointer = createCheckpointer({ store, clock, log, realm: REALM, signer: () => signer, every, records });
  let written = 0;
  return {
    store,
    clock,
    pki,
    signer,
    checkpointer,
    logged,
    write: async (count) => {
      const events = Array.from({ length: count }, () => event('test.write', { details: { number: (written += 1) } }));
      await store.appendAudit(events, clock.now());
    },
    exported: async (first) => {
      const lines: string[] = [];
      const ports = { store, clock, realm: REALM, root: () => pki.root.certificate };
      for await (const line of exportAudit(ports, first)) lines.push(canonicalJson(line));
      return lines;
    },
    close: async () => {
      await checkpointer.close();
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
