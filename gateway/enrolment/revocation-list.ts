/**
 * The revocation lists of the Device CAs: made off the request path, when something is revoked and before the last ones
 * run out; numbered upwards, stored, then served from memory. A CA that issues no more keeps its list until it expires,
 * since its certificates may be out there.
 */
import { Buffer } from 'node:buffer';
import { buildCrl } from '#pki/crl/build.ts';
import { parseCrl } from '#pki/crl/parse.ts';
import type { Issuer } from '#pki/certificate/issuer.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { EnrolmentStore } from '#gateway/ports/store/enrolment.ts';
import { createWorker } from '#gateway/ports/worker.ts';

interface CrlIssuer {
  readonly issuer: Issuer;
  readonly signer: Signer;
  readonly keyLabel: string;
}

export interface RevocationListPorts {
  readonly store: Pick<EnrolmentStore, 'recentCrls' | 'addCrl' | 'revokedCertificates'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Every CA that has a list; the one that issues first. */
  readonly issuers: () => readonly CrlIssuer[];
  /** How long a list is good for. */
  readonly validityMs: number;
  /** How long after a list the next one is made, though nothing was revoked. */
  readonly refreshMs: number;
}

export interface RevocationList {
  /** Something was revoked, or another CA issues: new lists follow soon. Many calls lead to few lists. */
  changed(): void;
  /**
   * The latest list, DER, of the CA with this key, or of the one that issues; the first call of a new realm waits for it
   * to be made. Errors: `authority.not-found`, `hsm.*`, `store.*`.
   */
  current(keyLabel?: string): Promise<Uint8Array>;
  /** Waits for lists that are being made. */
  stop(): Promise<void>;
}

interface Latest {
  readonly number: number;
  readonly der: Uint8Array;
  readonly thisUpdate: Date;
}

const RETRY_MS = 10_000;
/** Lists are made of all CAs together, so that the latest of each is among so many. */
const LOOK_BACK = 32;
const wholeSecond = (date: Date): number => Math.floor(date.getTime() / 1000) * 1000;

export function createRevocationList(ports: RevocationListPorts): RevocationList {
  const { store, clock, log, validityMs, refreshMs } = ports;
  /** By key label. */
  const latest = new Map<string, Latest>();
  let lastNumber = 0;
  let wanted = false;
  let failure: unknown;
  const firstRun = Promise.withResolvers<undefined>();

  const issuers = (): readonly CrlIssuer[] => {
    const now = clock.now();
    return ports.issuers().filter(({ issuer }, index) => index === 0 || issuer.notAfter >= now);
  };

  const load = async (): Promise<void> => {
    const stored = (await store.recentCrls(LOOK_BACK)).filter(({ number }) => number > lastNumber);
    lastNumber = Math.max(lastNumber, ...stored.map(({ number }) => number));
    for (const { number, der } of stored) {
      const { issuer: name, authorityKeyIdentifier, thisUpdate } = parseCrl(der);
      const owner = issuers().find(
        ({ issuer }) =>
          Buffer.compare(issuer.name, name) === 0 &&
          Buffer.compare(issuer.keyIdentifier, authorityKeyIdentifier ?? issuer.keyIdentifier) === 0,
      );
      // The same bytes stay the same object, which lets the edge remember what it knows of them.
      if (owner !== undefined && number > (latest.get(owner.keyLabel)?.number ?? 0))
        latest.set(owner.keyLabel, { number, der, thisUpdate });
    }
  };

  const dueAt = (list: Latest): Date => new Date(list.thisUpdate.getTime() + Math.min(refreshMs, validityMs / 2));

  const build = async ({ issuer, signer, keyLabel }: CrlIssuer): Promise<void> => {
    const previous = latest.get(keyLabel);
    const revoked = await store.revokedCertificates();
    // Never older than the list before, though the clock may have stepped back.
    const thisUpdate = new Date(Math.max(wholeSecond(clock.now()), previous?.thisUpdate.getTime() ?? 0));
    const nextUpdate = new Date(thisUpdate.getTime() + Math.max(1000, Math.floor(validityMs / 1000) * 1000));
    // An entry leaves only after a list that came after the certificate's end has shown it (RFC 5280, 3.3).
    const shown = previous?.thisUpdate ?? new Date(0);
    const entries = revoked.filter((one) => one.issuer === keyLabel && one.notAfter >= shown);
    const number = lastNumber + 1;
    const der = await buildCrl({
      issuer,
      signer,
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
        details: { issuer: keyLabel, entries: entries.length, nextUpdate: nextUpdate.toISOString() },
      },
    );
    log.info({ number, issuer: keyLabel, entries: entries.length, nextUpdate }, 'revocation list issued');
    lastNumber = number;
    latest.set(keyLabel, { number, der, thisUpdate });
  };

  const run = async (): Promise<void> => {
    await load();
    const all = wanted;
    wanted = false;
    for (const one of issuers()) {
      const list = latest.get(one.keyLabel);
      if (list === undefined || all || clock.now() >= dueAt(list)) await build(one);
    }
    failure = undefined;
    firstRun.resolve(undefined);
    const due = issuers()
      .flatMap(({ keyLabel }) => latest.get(keyLabel) ?? [])
      .map((list) => dueAt(list).getTime());
    worker.ringAt(new Date(Math.min(...due)));
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
    current: async (keyLabel) => {
      await firstRun.promise;
      const label = keyLabel ?? issuers()[0]?.keyLabel;
      const list = label === undefined ? undefined : latest.get(label);
      if (list !== undefined) return list.der;
      if (label !== undefined && !issuers().some((one) => one.keyLabel === label))
        throw new CroupierError('authority.not-found', `no CA called ${label} has a revocation list`);
      throw failure ?? new CroupierError('hsm.unavailable', 'there is no revocation list yet');
    },
    stop: () => worker.stop(),
  };
}
