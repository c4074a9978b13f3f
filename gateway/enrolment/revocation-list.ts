/**
 * The revocation list of the Device CA: made off the request path, when something is revoked and before the last one
 * runs out; numbered upwards, stored, then served from memory.
 */
import { buildCrl } from '#pki/crl/build.ts';
import { parseCrl } from '#pki/crl/parse.ts';
import type { Issuer } from '#pki/certificate/issuer.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { EnrolmentStore } from '#gateway/ports/store/enrolment.ts';
import { createWorker } from '#gateway/ports/worker.ts';

export interface RevocationListPorts {
  readonly store: Pick<EnrolmentStore, 'latestCrl' | 'addCrl' | 'revokedCertificates'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: () => { readonly issuer: Issuer; readonly signer: Signer };
  /** How long a list is good for. */
  readonly validityMs: number;
  /** How long after a list the next one is made, though nothing was revoked. */
  readonly refreshMs: number;
}

export interface RevocationList {
  /** Something was revoked: a new list follows soon. Many calls lead to few lists. */
  changed(): void;
  /** The latest list, DER; the first call of a new realm waits for it to be made. Errors: `hsm.*`, `store.*`. */
  current(): Promise<Uint8Array>;
  /** Waits for a list that is being made. */
  stop(): Promise<void>;
}

interface Latest {
  readonly number: number;
  readonly der: Uint8Array;
  readonly thisUpdate: Date;
}

const RETRY_MS = 10_000;
const wholeSecond = (date: Date): number => Math.floor(date.getTime() / 1000) * 1000;

export function createRevocationList(ports: RevocationListPorts): RevocationList {
  const { store, clock, log, validityMs, refreshMs } = ports;
  let latest: Latest | undefined;
  let wanted = false;
  let failure: unknown;
  const firstRun = Promise.withResolvers<undefined>();

  const load = async (): Promise<Latest | undefined> => {
    const stored = await store.latestCrl();
    // The same bytes stay the same object, which lets the edge remember what it knows of them.
    if (stored === undefined || stored.number === latest?.number) return latest;
    return { number: stored.number, der: stored.der, thisUpdate: parseCrl(stored.der).thisUpdate };
  };

  const dueAt = (list: Latest): Date => new Date(list.thisUpdate.getTime() + Math.min(refreshMs, validityMs / 2));

  const build = async (previous: Latest | undefined): Promise<Latest> => {
    const revoked = await store.revokedCertificates();
    // Never older than the list before, though the clock may have stepped back.
    const thisUpdate = new Date(Math.max(wholeSecond(clock.now()), previous?.thisUpdate.getTime() ?? 0));
    const nextUpdate = new Date(thisUpdate.getTime() + Math.max(1000, Math.floor(validityMs / 1000) * 1000));
    // An entry leaves only after a list that came after the certificate's end has shown it (RFC 5280, 3.3).
    const shown = previous?.thisUpdate ?? new Date(0);
    const entries = revoked.filter(({ notAfter }) => notAfter >= shown);
    const number = (previous?.number ?? 0) + 1;
    const der = await buildCrl({
      ...ports.authority(),
      number,
      thisUpdate,
      nextUpdate,
      revoked: entries.map(({ serial, revokedAt }) => ({ serialNumber: serial, revokedAt, reason: 'unspecified' })),
    });
    await store.addCrl(
      { number, der, thisUpdate, nextUpdate },
      {
        action: 'crl.issue',
        outcome: 'success',
        actor: { type: 'gateway', id: 'enrolment' },
        object: { type: 'crl', id: String(number) },
        details: { entries: entries.length, nextUpdate: nextUpdate.toISOString() },
      },
    );
    log.info({ number, entries: entries.length, nextUpdate }, 'revocation list issued');
    return { number, der, thisUpdate };
  };

  const run = async (): Promise<void> => {
    latest = await load();
    if (latest === undefined || wanted || clock.now() >= dueAt(latest)) {
      wanted = false;
      latest = await build(latest);
    }
    failure = undefined;
    firstRun.resolve(undefined);
    worker.ringAt(dueAt(latest));
  };

  const worker = createWorker(clock, run, (error) => {
    failure = error;
    wanted = true;
    firstRun.resolve(undefined);
    log.warn({ code: errorCode(error), error: errorMessage(error) }, 'revocation list not issued; it is tried again');
    worker.ringAt(new Date(clock.now().getTime() + RETRY_MS));
  });
  worker.ring();

  return {
    changed: () => {
      wanted = true;
      worker.ring();
    },
    current: async () => {
      await firstRun.promise;
      if (latest !== undefined) return latest.der;
      throw failure ?? new CroupierError('hsm.unavailable', 'there is no revocation list yet');
    },
    stop: () => worker.stop(),
  };
}
