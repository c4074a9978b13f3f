/** What enrolment decides on, loaded with statements that are built once. */
import { and, count, desc, eq, gt, sql } from 'drizzle-orm';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, type Serial, type Sha256 } from '#schema/ids.ts';
import { certificates, devicePublicKeys, devices, enrolmentRequests, tickets } from '#schema/tables.ts';
import type { EnrolmentQuery, EnrolmentState } from '#gateway/ports/store/enrolment.ts';
import type { CertificateRecord, DeviceRecord, EnrolmentRequest } from '#gateway/ports/store/records.ts';
import { certificateRecord, deviceRecord, enrolmentRequest, reader, ticketRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';

const [deviceRow] = layout(devices);
const [certificateRow, ownerRow] = layout(certificates, devices);
const [ticketRow] = layout(tickets);
const [requestRow] = layout(enrolmentRequests);

const certificate = (row: Row): CertificateRecord => certificateRecord(certificateRow(row));
const request = (row: Row): EnrolmentRequest => enrolmentRequest(requestRow(row));

export interface EnrolmentQueries {
  state(query: EnrolmentQuery): EnrolmentState;
  device(id: DeviceId): DeviceRecord | undefined;
  /** Errors: `certificate.unknown`. */
  bySerial(serial: Serial): CertificateRecord;
  withOwner(
    fingerprint: Sha256,
  ): { readonly certificate: CertificateRecord; readonly device: DeviceRecord } | undefined;
  /** Device that has used the public key before. */
  keyOwner(spkiSha256: Sha256): DeviceId | undefined;
  request(id: string): EnrolmentRequest | undefined;
  /** Whether the device has been issued a certificate after this one. */
  hasNewer(of: CertificateRecord): boolean;
  /** Whether the first use of the certificate starts the device's history of reports anew. */
  startsFresh(serial: Serial): boolean;
}

export function enrolmentQueries({ db, statements }: StoreContext): EnrolmentQueries {
  const certificatesWhere = (condition: ReturnType<typeof eq> | undefined) =>
    db.select().from(certificates).where(condition);
  const deviceById = statements.first(
    db
      .select()
      .from(devices)
      .where(eq(devices.id, sql.placeholder('id'))),
    (row) => deviceRecord(deviceRow(row)),
  );
  const bySerial = statements.first(certificatesWhere(eq(certificates.serial, sql.placeholder('serial'))), certificate);
  const byFingerprint = statements.first(
    certificatesWhere(eq(certificates.fingerprint, sql.placeholder('fingerprint'))),
    certificate,
  );
  const withOwner = statements.first(
    db
      .select()
      .from(certificates)
      .innerJoin(devices, eq(devices.id, certificates.device))
      .where(eq(certificates.fingerprint, sql.placeholder('fingerprint'))),
    (row) => ({ certificate: certificate(row), device: deviceRecord(ownerRow(row)) }),
  );
  const repeated = statements.first(
    certificatesWhere(
      and(eq(certificates.csrSha256, sql.placeholder('csr')), eq(certificates.device, sql.placeholder('device'))),
    ).orderBy(desc(certificates.createdAt)),
    certificate,
  );
  const newer = statements.first(
    certificatesWhere(
      and(
        eq(certificates.device, sql.placeholder('device')),
        gt(certificates.createdAt, sql.placeholder('after')),
        eq(certificates.state, 'issued'),
      ),
    ),
    certificate,
  );
  const ticketsOf = statements.all(
    db
      .select()
      .from(tickets)
      .where(eq(tickets.device, sql.placeholder('device')))
      .orderBy(desc(tickets.createdAt)),
    (row) => ticketRecord(ticketRow(row)),
  );
  const ownerOf = statements.first(
    db
      .select({ device: devicePublicKeys.device })
      .from(devicePublicKeys)
      .where(eq(devicePublicKeys.spkiSha256, sql.placeholder('spki'))),
    reader(
      z.tuple([DeviceId]).transform(([device]) => device),
      'device_public_keys',
    ),
  );
  const requestByCsr = statements.first(
    db
      .select()
      .from(enrolmentRequests)
      .where(eq(enrolmentRequests.csrSha256, sql.placeholder('csr'))),
    request,
  );
  const requestById = statements.first(
    db
      .select()
      .from(enrolmentRequests)
      .where(eq(enrolmentRequests.id, sql.placeholder('id'))),
    request,
  );
  const pending = statements.first(
    db.select({ requests: count() }).from(enrolmentRequests).where(eq(enrolmentRequests.state, 'pending')),
    reader(
      z.tuple([z.int()]).transform(([requests]) => requests),
      'enrolment_requests',
    ),
  );
  const fresh = statements.first(
    db
      .select({ fresh: certificates.freshStart })
      .from(certificates)
      .where(eq(certificates.serial, sql.placeholder('serial'))),
    ([flag]) => flag === 1,
  );

  return {
    state({ device: claimed, csrSha256, spkiSha256, presented: fingerprint }) {
      const presented = fingerprint === undefined ? undefined : byFingerprint({ fingerprint });
      const parked = requestByCsr({ csr: csrSha256 });
      const decided = parked?.state === 'approved' || parked?.state === 'issued';
      const id = presented?.device ?? (decided ? parked.device : undefined) ?? claimed;
      return {
        device: id === undefined ? undefined : deviceById({ id }),
        tickets: id === undefined ? [] : ticketsOf({ device: id }),
        presented,
        repeated: id === undefined ? undefined : repeated({ csr: csrSha256, device: id }),
        keyOwner: ownerOf({ spki: spkiSha256 }),
        request: parked,
        pendingRequests: pending() ?? 0,
      };
    },
    device: (id) => deviceById({ id }),
    bySerial(serial) {
      const found = bySerial({ serial });
      if (found === undefined)
        throw new CroupierError('certificate.unknown', `There is no record of certificate ${serial}`);
      return found;
    },
    withOwner: (fingerprint) => withOwner({ fingerprint }),
    keyOwner: (spkiSha256) => ownerOf({ spki: spkiSha256 }),
    request: (id) => requestById({ id }),
    hasNewer: ({ device, createdAt }) => newer({ device, after: createdAt.getTime() }) !== undefined,
    startsFresh: (serial) => fresh({ serial }) ?? false,
  };
}
