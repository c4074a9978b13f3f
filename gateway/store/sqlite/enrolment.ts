/** Enrolment: intents before signatures, certificates after, parked requests, CRLs. */
import { and, asc, desc, eq, sql } from 'drizzle-orm';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { Serial } from '#schema/ids.ts';
import { certificates, crls, devicePublicKeys, devices, enrolmentRequests, tickets } from '#schema/tables.ts';
import type { EnrolmentOutcome, EnrolmentStore } from '#gateway/ports/store/enrolment.ts';
import type {
  CertificateIntent,
  CertificateRecord,
  DeviceRecord,
  EnrolmentRequest,
} from '#gateway/ports/store/records.ts';
import { historyResetter } from './containment.ts';
import { enrolmentQueries } from './enrolment-queries.ts';
import { blob, enrolmentRequest, Instant, ms, reader } from './rows.ts';
import type { StoreContext } from './transaction.ts';

const revocation = reader(
  z.object({ serial: Serial, issuer: z.string(), revokedAt: Instant, notAfter: Instant }),
  'certificates',
);
const crlHead = reader(z.object({ number: z.int(), der: z.instanceof(Uint8Array), nextUpdate: Instant }), 'crls');

function enrolmentStatements({ db, statements }: StoreContext) {
  const bySerial = eq(certificates.serial, sql.placeholder('serial'));
  return {
    addKey: statements.change(
      db.insert(devicePublicKeys).values({ spkiSha256: sql.placeholder('spki'), device: sql.placeholder('device') }),
    ),
    addIntent: statements.change(
      db.insert(certificates).values({
        serial: sql.placeholder('serial'),
        device: sql.placeholder('device'),
        issuer: sql.placeholder('issuer'),
        state: 'intended',
        csrSha256: sql.placeholder('csr'),
        spkiSha256: sql.placeholder('spki'),
        tbs: sql.placeholder('tbs'),
        notBefore: sql.placeholder('notBefore'),
        notAfter: sql.placeholder('notAfter'),
        freshStart: sql.placeholder('freshStart'),
        createdAt: sql.placeholder('createdAt'),
      }),
    ),
    consumeTicket: statements.change(
      db
        .update(tickets)
        .set({ consumedAt: sql`${sql.placeholder('at')}`, consumedCsr: sql`${sql.placeholder('csr')}` })
        .where(eq(tickets.id, sql.placeholder('id'))),
    ),
    complete: statements.change(
      db
        .update(certificates)
        .set({
          state: 'issued',
          der: sql`${sql.placeholder('der')}`,
          fingerprint: sql`${sql.placeholder('fingerprint')}`,
        })
        .where(bySerial),
    ),
    setNext: statements.change(
      db
        .update(devices)
        .set({ nextSerial: sql`${sql.placeholder('serial')}` })
        .where(eq(devices.id, sql.placeholder('device'))),
    ),
    markEnrolled: statements.change(
      db
        .update(devices)
        .set({ state: 'enrolled', stateSince: sql`${sql.placeholder('at')}` })
        .where(and(eq(devices.id, sql.placeholder('device')), eq(devices.state, 'registered'))),
    ),
    promote: statements.change(
      db
        .update(devices)
        .set({ currentSerial: sql`${sql.placeholder('serial')}`, nextSerial: null })
        .where(and(eq(devices.id, sql.placeholder('device')), eq(devices.nextSerial, sql.placeholder('serial')))),
    ),
  };
}

/** Why a certificate that has been signed must not go out. */
function releaseRefusal(certificate: CertificateRecord, owner: DeviceRecord | undefined): CroupierError | undefined {
  const { serial, state, device } = certificate;
  if (state === 'revoked')
    return new CroupierError('certificate.revoked', `Certificate ${serial} was revoked before it was released`);
  if (state === 'withheld')
    return new CroupierError('certificate.invariant-broken', `Certificate ${serial} is withheld and is not released`);
  if (owner === undefined || owner.state.kind === 'quarantined' || owner.state.kind === 'revoked') {
    return new CroupierError(
      'enrolment.quarantined',
      `Certificate ${serial} is not released: device ${device} has been contained`,
    );
  }
  return undefined;
}

export function enrolmentStore(context: StoreContext): EnrolmentStore {
  const { db, transactions, clock } = context;
  const queries = enrolmentQueries(context);
  const statements = enrolmentStatements(context);
  const resetHistory = historyResetter(context);

  const addIntent = (intent: CertificateIntent): void => {
    const { serial, device, issuer, csrSha256: csr, spkiSha256: spki } = intent;
    const owner = queries.keyOwner(spki);
    if (owner !== undefined && owner !== device) {
      throw new CroupierError('csr.key-already-used', 'Another device has used this public key', {
        detail: { device },
      });
    }
    if (owner === undefined) statements.addKey({ spki, device });
    statements.addIntent({
      serial,
      device,
      issuer,
      csr,
      spki,
      tbs: intent.tbs,
      notBefore: intent.notBefore.getTime(),
      notAfter: intent.notAfter.getTime(),
      freshStart: intent.freshStart ? 1 : 0,
      createdAt: intent.createdAt.getTime(),
    });
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
    if (ticket !== undefined)
      statements.consumeTicket({ id: ticket, at: intent.createdAt.getTime(), csr: intent.csrSha256 });
    if (request !== undefined) {
      db.update(enrolmentRequests).set({ state: 'issued' }).where(eq(enrolmentRequests.id, request)).run();
    }
    return intent.createdAt;
  };

  return {
    async decideEnrolment(query, decide) {
      return transactions.write((journal) => {
        const outcome = decide(queries.state(query));
        const at = commit(outcome);
        if (outcome.kind !== 'repeat' && outcome.kind !== 'wait') journal(outcome.audit, at);
        return outcome;
      });
    },

    async completeCertificate(serial, der, fingerprint, at, audit) {
      return transactions.write((journal) => {
        const certificate = queries.bySerial(serial);
        if (certificate.state === 'issued') return certificate;
        const { device } = certificate;
        const refusal = releaseRefusal(certificate, queries.device(device));
        if (refusal !== undefined) throw refusal;
        statements.complete({ serial, der, fingerprint });
        statements.markEnrolled({ device, at: at.getTime() });
        // An older intent that is completed late must not take the place of the identity issued since.
        if (!queries.hasNewer(certificate)) statements.setNext({ device, serial });
        journal([audit], at);
        return queries.bySerial(serial);
      });
    },

    async withholdCertificate(serial, audit) {
      await transactions.write((journal) => {
        const { state } = queries.bySerial(serial);
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
      return transactions.read(() => queries.withOwner(fingerprint));
    },

    async promoteCertificate(serial, at) {
      // Nearly every connection uses the current identity already: it takes no write lock.
      const { device, isNext } = transactions.read(() => {
        const certificate = queries.bySerial(serial);
        return { device: certificate.device, isNext: queries.device(certificate.device)?.nextSerial === serial };
      });
      if (!isNext) return;
      await transactions.write(() => {
        const promoted = statements.promote({ device, serial });
        if (promoted > 0 && queries.startsFresh(serial)) resetHistory(device, at);
      });
    },

    async revokedCertificates() {
      return transactions.read(() =>
        db
          .select({
            serial: certificates.serial,
            issuer: certificates.issuer,
            revokedAt: certificates.revokedAt,
            notAfter: certificates.notAfter,
          })
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
        const outcome = decide(queries.request(id), (device) => queries.device(device));
        if (outcome.kind === 'decide') {
          const { state, device, by } = outcome;
          const decided = {
            state,
            decidedAt: at.getTime(),
            decidedBy: by,
            ...(device === undefined ? {} : { device }),
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

    async recentCrls(limit) {
      return transactions.read(() => db.select().from(crls).orderBy(desc(crls.number)).limit(limit).all().map(crlHead));
    },

    async addCrl(crl, audit) {
      await transactions.write((journal) => {
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
