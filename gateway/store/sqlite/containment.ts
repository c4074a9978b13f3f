/** Changes of a device's state, and what goes with them wherever they are decided. */
import { and, eq, gt, inArray, isNull, lt, ne, notInArray, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { DeviceId } from '#schema/ids.ts';
import {
  certificates,
  deviceKeyVersions,
  devices,
  deviceSync,
  enrolmentRequests,
  rollouts,
  rolloutTargets,
  tickets,
} from '#schema/tables.ts';
import type { Campaign, DeviceRecord, DeviceState, TargetState } from '#gateway/ports/store/records.ts';
import type { StoreContext } from './transaction.ts';

/** Target states that a quarantined or revoked device keeps: nothing more is expected of them. */
const CLOSED: readonly TargetState[] = ['old-destroyed', 'superseded', 'exempt'];

/** What was tried with a target that begins anew is forgotten. */
export const FROM_THE_START = { deferredUntil: null, offeredAt: null, attempts: 0 } as const;

const contained = (state: DeviceState): boolean => state.kind === 'quarantined' || state.kind === 'revoked';

/**
 * Stores the new state. Containment (quarantine, revocation) clears the due mark and takes the device out of open
 * rollouts; release puts it back and makes it due.
 */
export function changeDeviceState(db: BetterSQLite3Database, device: DeviceRecord, state: DeviceState, at: Date): void {
  const code = state.kind === 'quarantined' ? state.code : null;
  db.update(devices)
    .set({ state: state.kind, stateCode: code, stateSince: at.getTime() })
    .where(eq(devices.id, device.id))
    .run();
  if (contained(state)) {
    db.update(deviceSync).set({ dueAt: null }).where(eq(deviceSync.device, device.id)).run();
    moveOpenTargets(db, device.id, 'quarantined', code, at);
  } else if (contained(device.state)) {
    db.update(deviceSync).set({ dueAt: at.getTime() }).where(eq(deviceSync.device, device.id)).run();
    moveOpenTargets(db, device.id, 'pending', null, at);
  }
}

function moveOpenTargets(
  db: BetterSQLite3Database,
  device: DeviceId,
  state: TargetState,
  code: string | null,
  at: Date,
): void {
  const open = db.select({ id: rollouts.id }).from(rollouts).where(isNull(rollouts.finishedAt));
  const from =
    state === 'pending' ? eq(rolloutTargets.state, 'quarantined') : notInArray(rolloutTargets.state, [...CLOSED]);
  db.update(rolloutTargets)
    .set({ state, code, ...(state === 'pending' ? FROM_THE_START : { deferredUntil: null }), changedAt: at.getTime() })
    .where(and(inArray(rolloutTargets.rollout, open), eq(rolloutTargets.device, device), from))
    .run();
}

/**
 * Starts the history of reports anew. What the device proved before counts as offered until it proves it again, so that
 * a restored or wiped device is not taken for a fork, and a version it may still hold is not taken for gone. Prepared:
 * every first enrolment does it.
 */
export function historyResetter({
  db,
  statements,
}: Pick<StoreContext, 'db' | 'statements'>): (device: DeviceId, at: Date) => void {
  const forget = statements.change(
    db
      .update(deviceSync)
      .set({
        lastSeq: 0,
        counter: 0,
        digest: null,
        nonce: null,
        nonceAnswered: false,
        clockTrusted: false,
        boots: '[]',
        unexpected: null,
        trustVersion: 0,
        attempts: 0,
      })
      .where(eq(deviceSync.device, sql.placeholder('device'))),
  );
  const ofDevice = eq(deviceKeyVersions.device, sql.placeholder('device'));
  const drop = statements.change(
    db.delete(deviceKeyVersions).where(and(ofDevice, eq(deviceKeyVersions.state, 'destroyed'))),
  );
  const doubt = statements.change(
    db
      .update(deviceKeyVersions)
      .set({ state: 'offered', changedAt: sql`${sql.placeholder('at')}` })
      .where(and(ofDevice, ne(deviceKeyVersions.state, 'offered'))),
  );
  return (device, at) => {
    forget({ device });
    drop({ device });
    doubt({ device, at: at.getTime() });
  };
}

/**
 * Revokes every certificate of a device that is out, or may come out of a signature that is under way; none of them is
 * its identity any more, even if the device is released. What could still bring it a certificate ends with them: tickets
 * that are out and requests that were approved.
 */
export function revokeCertificates(db: BetterSQLite3Database, device: DeviceId, reason: string, at: Date): void {
  db.update(certificates)
    .set({ state: 'revoked', revokedAt: at.getTime(), revocationReason: reason })
    .where(and(eq(certificates.device, device), inArray(certificates.state, ['intended', 'issued'])))
    .run();
  db.update(devices).set({ currentSerial: null, nextSerial: null }).where(eq(devices.id, device)).run();
  const stillOut = and(eq(tickets.device, device), isNull(tickets.consumedAt), gt(tickets.expiresAt, at.getTime()));
  db.update(tickets).set({ expiresAt: at.getTime() }).where(stillOut).run();
  db.update(enrolmentRequests)
    .set({ state: 'refused' })
    .where(and(eq(enrolmentRequests.device, device), eq(enrolmentRequests.state, 'approved')))
    .run();
}

/** Revokes the certificates of a device that a campaign has replaced; the one in use now, and a later one, stay. */
export function revokeReplaced(
  db: BetterSQLite3Database,
  { id, currentSerial, nextSerial }: DeviceRecord,
  { before, issuer }: Campaign,
  at: Date,
): void {
  const kept = [currentSerial, nextSerial].filter((serial) => serial !== undefined);
  db.update(certificates)
    .set({ state: 'revoked', revokedAt: at.getTime(), revocationReason: 'keyCompromise' })
    .where(
      and(
        eq(certificates.device, id),
        inArray(certificates.state, ['intended', 'issued']),
        lt(certificates.createdAt, before.getTime()),
        issuer === undefined ? undefined : eq(certificates.issuer, issuer),
        notInArray(certificates.serial, kept),
      ),
    )
    .run();
}

/** The device must exist; the error of foreign keys names nothing. */
export function deviceExists(db: BetterSQLite3Database, device: DeviceId): boolean {
  return (
    db
      .select({ one: sql`1` })
      .from(devices)
      .where(eq(devices.id, device))
      .get() !== undefined
  );
}
