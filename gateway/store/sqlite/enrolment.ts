/** Enrolment: intents before signatures, certificates after, parked requests, CRLs. */
import { and, asc, count, desc, eq, gt } from 'drizzle-orm';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, Serial, type Sha256 } from '#schema/ids.ts';
import { certificates, crls, devicePublicKeys, devices, enrolmentRequests, tickets } from '#schema/tables.ts';
import type {
  EnrolmentOutcome,
  EnrolmentQuery,
  EnrolmentState,
  EnrolmentStore,
} from '#gateway/ports/store/enrolment.ts';
import type {
  CertificateIntent,
  CertificateRecord,
  DeviceRecord,
  EnrolmentRequest,
} from '#gateway/ports/store/records.ts';
import { resetHistory } from './containment.ts';
import { blob, certificateRecord, deviceRecord, enrolmentRequest, Instant, ms, reader, ticketRecord } from './rows.ts';
import type { StoreContext } from './transaction.ts';

const revocation = reader(z.object({ serial: Serial, revokedAt: Instant, notAfter: Instant }), 'certificates');
const keyOwner = reader(z.object({ device: DeviceId }), 'device_public_keys');
const crlHead = reader(z.object({ number: z.int(), der: z.instanceof(Uint8Array), nextUpdate: Instant }), 'crls');

export function enrolmentStore({ db, transactions, clock }: StoreContext): EnrolmentStore {
  const device = (id: DeviceId): DeviceRecord | undefined => {
    const row = db.select().from(devices).where(eq(devices.id, id)).get();
    return row === undefined ? undefined : deviceRecord(row);
  };

  const bySerial = (serial: Serial): CertificateRecord => {
    const row = db.select().from(certificates).where(eq(certificates.serial, serial)).get();
    if (row === undefined)
      throw new CroupierError('certificate.unknown', `There is no record of certificate ${serial}`);
    return certificateRecord(row);
  };

  const isNext = (serial: Serial): boolean => device(bySerial(serial).device)?.nextSerial === serial;

  const startsFresh = (serial: Serial): boolean =>
    db.select({ fresh: certificates.freshStart }).from(certificates).where(eq(certificates.serial, serial)).get()
      ?.fresh ?? false;

  const byFingerprint = (fingerprint: Sha256): CertificateRecord | undefined => {
    const row = db.select().from(certificates).where(eq(certificates.fingerprint, fingerprint)).get();
    return row === undefined ? undefined : certificateRecord(row);
  };

  const repeatedRequest = (csrSha256: Sha256, id: DeviceId): CertificateRecord | undefined => {
    const row = db
      .select()
      .from(certificates)
      .where(and(eq(certificates.csrSha256, csrSha256), eq(certificates.device, id)))
      .orderBy(desc(certificates.createdAt))
      .limit(1)
      .get();
    return row === undefined ? undefined : certificateRecord(row);
  };

  /** An older intent that is completed late must not take the place of the identity issued since. */
  const hasNewer = ({ device: owner, createdAt }: CertificateRecord): boolean =>
    db
      .select({ serial: certificates.serial })
      .from(certificates)
      .where(
        and(
          eq(certificates.device, owner),
          gt(certificates.createdAt, createdAt.getTime()),
          eq(certificates.state, 'issued'),
        ),
      )
      .get() !== undefined;

  const ownerOf = (spkiSha256: Sha256): DeviceId | undefined => {
    const row = db.select().from(devicePublicKeys).where(eq(devicePublicKeys.spkiSha256, spkiSha256)).get();
    return row === undefined ? undefined : keyOwner(row).device;
  };

  const requestOf = (csrSha256: Sha256): EnrolmentRequest | undefined => {
    const row = db.select().from(enrolmentRequests).where(eq(enrolmentRequests.csrSha256, csrSha256)).get();
    return row === undefined ? undefined : enrolmentRequest(row);
  };

  const load = (query: EnrolmentQuery): EnrolmentState => {
    const id = query.device;
    const pending = db
      .select({ requests: count() })
      .from(enrolmentRequests)
      .where(eq(enrolmentRequests.state, 'pending'))
      .get();
    return {
      device: id === undefined ? undefined : device(id),
      tickets:
        id === undefined
          ? []
          : db
              .select()
              .from(tickets)
              .where(eq(tickets.device, id))
              .orderBy(desc(tickets.createdAt))
              .all()
              .map(ticketRecord),
      presented: query.presented === undefined ? undefined : byFingerprint(query.presented),
      repeated: id === undefined ? undefined : repeatedRequest(query.csrSha256, id),
      keyOwner: ownerOf(query.spkiSha256),
      request: requestOf(query.csrSha256),
      pendingRequests: pending?.requests ?? 0,
    };
  };

  const addIntent = (intent: CertificateIntent): void => {
    const owner = ownerOf(intent.spkiSha256);
    if (owner !== undefined && owner !== intent.device) {
      throw new CroupierError('csr.key-already-used', 'Another device has used this public key', {
        detail: { device: intent.device },
      });
    }
    if (owner === undefined)
      db.insert(devicePublicKeys).values({ spkiSha256: intent.spkiSha256, device: intent.device }).run();
    db.insert(certificates)
      .values({
        ...intent,
        state: 'intended',
        tbs: blob(intent.tbs),
        notBefore: intent.notBefore.getTime(),
        notAfter: intent.notAfter.getTime(),
        createdAt: intent.createdAt.getTime(),
      })
      .run();
  };

  const park = (request: EnrolmentRequest): void => {
    const row = {
      ...request,
      csr: blob(request.csr),
      requestedAt: request.requestedAt.getTime(),
      decidedAt: ms(request.decidedAt),
    };
    db.insert(enrolmentRequests)
      .values(row)
      .onConflictDoUpdate({ target: enrolmentRequests.csrSha256, set: row })
      .run();
  };

  /** Stores the outcome; returns the time that its audit records bear. */
  const commit = (outcome: EnrolmentOutcome): Date => {
    if (outcome.kind === 'park') {
      park(outcome.request);
      return outcome.request.requestedAt;
    }
    if (outcome.kind !== 'issue') return clock.now();
    const { intent, ticket, request } = outcome;
    addIntent(intent);
    if (ticket !== undefined) {
      db.update(tickets)
        .set({ consumedAt: intent.createdAt.getTime(), consumedCsr: intent.csrSha256 })
        .where(eq(tickets.id, ticket))
        .run();
    }
    if (request !== undefined) {
      db.update(enrolmentRequests).set({ state: 'issued' }).where(eq(enrolmentRequests.id, request)).run();
    }
    return intent.createdAt;
  };

  return {
    async decideEnrolment(query, decide) {
      return transactions.write((journal) => {
        const outcome = decide(load(query));
        const at = commit(outcome);
        if (outcome.kind !== 'repeat' && outcome.kind !== 'wait') journal(outcome.audit, at);
        return outcome;
      });
    },

    async completeCertificate(serial, der, fingerprint, at, audit) {
      return transactions.write((journal) => {
        const certificate = bySerial(serial);
        if (certificate.state === 'issued') return certificate;
        if (certificate.state === 'revoked') {
          throw new CroupierError('certificate.revoked', `Certificate ${serial} was revoked before it was released`);
        }
        if (certificate.state === 'withheld') {
          throw new CroupierError(
            'certificate.invariant-broken',
            `Certificate ${serial} is withheld and is not released`,
          );
        }
        const owner = device(certificate.device);
        if (owner === undefined || owner.state.kind === 'quarantined' || owner.state.kind === 'revoked') {
          throw new CroupierError(
            'enrolment.quarantined',
            `Certificate ${serial} is not released: device ${certificate.device} has been contained`,
          );
        }
        db.update(certificates)
          .set({ state: 'issued', der: blob(der), fingerprint })
          .where(eq(certificates.serial, serial))
          .run();
        const isEnrolled =
          owner.state.kind === 'registered' ? { state: 'enrolled', stateSince: at.getTime() } : undefined;
        const isNext = hasNewer(certificate) ? undefined : { nextSerial: serial };
        if (isEnrolled !== undefined || isNext !== undefined) {
          db.update(devices)
            .set({ ...isEnrolled, ...isNext })
            .where(eq(devices.id, owner.id))
            .run();
        }
        journal([audit], at);
        return bySerial(serial);
      });
    },

    async withholdCertificate(serial, audit) {
      transactions.write((journal) => {
        const { state } = bySerial(serial);
        if (state === 'withheld') return;
        if (state !== 'intended') {
          throw new CroupierError(
            'certificate.invariant-broken',
            `Certificate ${serial} is ${state} and cannot be withheld`,
          );
        }
        db.update(certificates).set({ state: 'withheld' }).where(eq(certificates.serial, serial)).run();
        journal([audit], clock.now());
      });
    },

    async certificateByFingerprint(fingerprint) {
      return transactions.read(() => {
        const row = db
          .select()
          .from(certificates)
          .innerJoin(devices, eq(devices.id, certificates.device))
          .where(eq(certificates.fingerprint, fingerprint))
          .get();
        if (row === undefined) return undefined;
        return { certificate: certificateRecord(row.certificates), device: deviceRecord(row.devices) };
      });
    },

    async promoteCertificate(serial, at) {
      // Nearly every connection uses the current identity already: it takes no write lock.
      if (!transactions.read(() => isNext(serial))) return;
      transactions.write(() => {
        const { device: owner } = bySerial(serial);
        const promoted = db
          .update(devices)
          .set({ currentSerial: serial, nextSerial: null })
          .where(and(eq(devices.id, owner), eq(devices.nextSerial, serial)))
          .run();
        if (promoted.changes > 0 && startsFresh(serial)) resetHistory(db, owner, at);
      });
    },

    async revokedCertificates() {
      return transactions.read(() =>
        db
          .select()
          .from(certificates)
          .where(eq(certificates.state, 'revoked'))
          .orderBy(asc(certificates.revokedAt))
          .all()
          .map(revocation),
      );
    },

    async enrolmentRequests(state, limit) {
      return transactions.read(() =>
        db
          .select()
          .from(enrolmentRequests)
          .where(state === undefined ? undefined : eq(enrolmentRequests.state, state))
          .orderBy(desc(enrolmentRequests.requestedAt))
          .limit(limit)
          .all()
          .map(enrolmentRequest),
      );
    },

    async decideRequest(id, at, decide) {
      return transactions.write((journal) => {
        const row = db.select().from(enrolmentRequests).where(eq(enrolmentRequests.id, id)).get();
        const outcome = decide(row === undefined ? undefined : enrolmentRequest(row), device);
        if (outcome.kind === 'decide') {
          const { state, device: assigned, by } = outcome;
          const decided = {
            state,
            decidedAt: at.getTime(),
            decidedBy: by,
            ...(assigned === undefined ? {} : { device: assigned }),
          };
          db.update(enrolmentRequests).set(decided).where(eq(enrolmentRequests.id, id)).run();
        }
        journal(outcome.audit, at);
        return outcome;
      });
    },

    async latestCrl() {
      return transactions.read(() => {
        const row = db.select().from(crls).orderBy(desc(crls.number)).limit(1).get();
        return row === undefined ? undefined : crlHead(row);
      });
    },

    async addCrl(crl, audit) {
      transactions.write((journal) => {
        db.insert(crls)
          .values({
            number: crl.number,
            der: blob(crl.der),
            thisUpdate: crl.thisUpdate.getTime(),
            nextUpdate: crl.nextUpdate.getTime(),
          })
          .run();
        journal([audit], crl.thisUpdate);
      });
    },
  };
}
