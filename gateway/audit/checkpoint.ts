/**
 * Checkpoints: the head of the chain, signed by the audit key in the HSM. A copy kept elsewhere catches what a chain
 * alone cannot show: a tail cut off, or a whole history written anew.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { parseSignedData } from '#pki/cms/signed-data.ts';
import { AuditCheckpointBody } from '#schema/audit.ts';
import { asCroupierError, CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import { Sha256, type Realm } from '#schema/ids.ts';
import { parseJson } from '#schema/parse.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { AuditStore, StoredCheckpoint } from '#gateway/ports/store/audit.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { CHAIN_START, verifyChain, type ChainHead } from './chain.ts';

export interface CheckpointerOptions {
  readonly store: AuditStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly realm: Realm;
  /** Asked for each checkpoint, since the audit signer may be renewed. */
  readonly signer: () => MessageSigner;
  /** A record is sealed after this many milliseconds at the latest … */
  readonly every: number;
  /** … or as soon as so many are unsealed. */
  readonly records: number;
}

export interface Checkpointer {
  /**
   * Seals what is not sealed yet; returns when a checkpoint covers every record that was there. Errors: `audit.broken`
   * when the records do not follow the last checkpoint, `hsm.unavailable`, `store.unavailable`.
   */
  seal(): Promise<void>;
  /** Seals what can be sealed and stops. */
  close(): Promise<void>;
}

/** Largest checkpoint: body, signature and two certificates. */
export const MAX_CHECKPOINT_BYTES = 16 * 1024;
/** How often the head is looked at. */
const LOOK_MS = 1_000;
const PAGE = 1_000;

/** Body of a checkpoint's message, not verified. Errors: `message.malformed`. */
export function checkpointBody(cms: Uint8Array): AuditCheckpointBody {
  const { content } = parseSignedData(cms, { maxBytes: MAX_CHECKPOINT_BYTES });
  return parseJson(AuditCheckpointBody, Buffer.from(content).toString('utf8'), 'message.malformed', 'audit checkpoint');
}

/** Whether to seal now. Pure. */
export function isSealDue(
  unsealed: number,
  waitedMs: number,
  { every, records }: Pick<CheckpointerOptions, 'every' | 'records'>,
): boolean {
  return unsealed > 0 && (unsealed >= records || waitedMs >= every);
}

/** Signs the head: CMS SignedData over canonical JSON, DER, with certificates, so that a file with the root verifies it. */
async function signHead(
  head: ChainHead,
  previous: StoredCheckpoint | undefined,
  realm: Realm,
  at: Date,
  signer: MessageSigner,
): Promise<StoredCheckpoint> {
  const body: AuditCheckpointBody = {
    v: 1,
    type: 'audit-checkpoint',
    realm,
    seq: head.seq,
    hash: Sha256.parse(head.hash),
    previous: previous === undefined ? null : Sha256.parse(previous.sha256),
    time: at.toISOString(),
  };
  const cms = await signMessage(Buffer.from(canonicalJson(body), 'utf8'), signer, { signingTime: at });
  return { seq: head.seq, cms, sha256: createHash('sha256').update(cms).digest('hex') };
}

/** Follows the chain from the last checkpoint to its end: what is not whole is never signed. */
async function verifiedHead(store: AuditStore, last: StoredCheckpoint | undefined): Promise<ChainHead> {
  let head = CHAIN_START;
  if (last !== undefined) {
    const { seq, hash } = checkpointBody(last.cms);
    head = { seq, hash };
  }
  for (;;) {
    const page = await store.auditRecords(head.seq, PAGE);
    head = verifyChain(page, head);
    if (page.length < PAGE) return head;
  }
}

export function createCheckpointer(options: CheckpointerOptions): Checkpointer {
  const { store, clock, log, realm } = options;
  /** When the record was seen that waits longest for its seal. */
  let waitingSince: number | undefined;
  let sealing: Promise<void> = Promise.resolve();
  /** It has been put on record that the chain is broken; once is enough until it holds again. */
  let isToldBroken = false;

  const sealNow = async (): Promise<void> => {
    const last = await store.latestCheckpoint();
    if ((await store.auditHead()).seq < (last?.seq ?? 0)) {
      throw new CroupierError('audit.broken', `the audit trail ends before record ${last?.seq}, which was sealed`);
    }
    const head = await verifiedHead(store, last);
    if (head.seq === (last?.seq ?? 0)) return;
    const at = clock.now();
    await store.addCheckpoint(await signHead(head, last, realm, at, options.signer()), at);
    waitingSince = undefined;
    isToldBroken = false;
    log.debug({ seq: head.seq }, 'audit trail sealed');
  };

  /** One at a time, since each names the one before. */
  const seal = (): Promise<void> => {
    const run = sealing.then(sealNow);
    sealing = run.catch(() => {});
    return run;
  };

  const look = async (): Promise<void> => {
    const head = await store.auditHead();
    const unsealed = head.seq - ((await store.latestCheckpoint())?.seq ?? 0);
    const now = clock.monotonic();
    if (unsealed === 0) waitingSince = undefined;
    else waitingSince ??= now;
    // Fewer records than were sealed: sealing finds out, and says so.
    if (unsealed < 0 || isSealDue(unsealed, now - (waitingSince ?? now), options)) await seal();
  };

  const lookAgain = (): void => worker.ringAt(new Date(clock.now().getTime() + Math.min(LOOK_MS, options.every)));
  /** Whoever broke the trail did not want it known: what is written behind the break raises an alert. */
  const tellBroken = async (fault: string): Promise<void> => {
    if (isToldBroken) return;
    isToldBroken = true;
    const actor = { type: 'gateway', id: 'audit' } as const;
    const event = {
      action: 'audit.checkpoint',
      outcome: 'error',
      code: 'audit.broken',
      actor,
      details: { fault },
    } as const;
    await store.appendAudit([event], clock.now());
  };
  const complain = (cause: unknown): void => {
    const { code } = asCroupierError(cause, 'internal.unexpected');
    const fault = errorMessage(cause);
    const text = `audit trail not sealed: ${fault}`;
    if (code !== 'audit.broken') {
      log.warn({ code }, text);
      return;
    }
    log.error({ code }, text);
    tellBroken(fault).catch((error: unknown) => log.error({ code }, `alert not raised: ${errorMessage(error)}`));
  };
  const worker: Worker = createWorker(
    clock,
    async () => {
      await look();
      lookAgain();
    },
    (error) => {
      complain(error);
      lookAgain();
    },
  );
  worker.ring();

  return {
    seal,
    close: async () => {
      await worker.stop();
      try {
        await seal();
      } catch (error) {
        if (errorCode(error) === 'internal.unexpected') throw error;
        complain(error);
      }
    },
  };
}
