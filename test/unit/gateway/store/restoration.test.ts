/** What the database is made to forget and to remember when it is put back from a backup. */
import type Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nextVersion } from '#gateway/keys/decide-rotation.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { DeviceState } from '#gateway/ports/store/records.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import { markRestored, readPredecessor, type Predecessor } from '#gateway/store/sqlite/restoration.ts';
import {
  addKeySet,
  approval,
  deviceId,
  enrol,
  event,
  importDevices,
  keySetChange,
  keyVersion,
  REALM,
  second,
  sha256,
  WALLET,
} from '#test/support/store-fixtures.ts';

let sqlite: Database.Database;
let store: Store;
const others: Store[] = [];

async function open(): Promise<[Database.Database, Store]> {
  const database = openDatabase(':memory:', 100);
  const opened = await storeOn(database, REALM);
  others.push(opened);
  return [database, opened];
}

beforeEach(async () => {
  [sqlite, store] = await open();
  await importDevices(store, 'egm-1', 'egm-2');
  await addKeySet(store);
});

afterEach(async () => {
  for (const one of others.splice(0)) await one.close();
});

/** An hour after the last record of the backup. */
const AT = second(3_600);
const mark = (predecessor?: Predecessor) =>
  markRestored(sqlite, REALM, { at: AT, actor: { type: 'console', id: 'restore' }, predecessor });
const nextNumber = async (): Promise<number> => {
  const keySet = await store.keySet(WALLET);
  if (keySet === undefined) throw new Error('there is no key set');
  return nextVersion(keySet);
};

describe('numbers after a restoration', () => {
  test('given an hour since the backup, then 1,000 numbers are passed over, and one for each ten minutes', async () => {
    await mark();
    expect(await nextNumber()).toBe(1 + 1_000 + 6 + 1);
    const versions = (await store.keySet(WALLET))?.versions;
    expect(versions?.at(-1)).toMatchObject({ version: 1_007, state: 'destroyed', wrapped: undefined });
    expect((await store.keySet(WALLET))?.revision).toBe(AT.getTime());
    expect(await store.restoration()).toEqual({ at: AT, numbersUpTo: 1_006 });
  });

  test('given the database before, then what was given out there is passed over, too', async () => {
    const [before, previous] = await open();
    await addKeySet(previous, keySetChange({}, keyVersion(7_000)));
    await mark(readPredecessor(before));
    expect(await nextNumber()).toBe(7_000 + 1_000 + 6 + 1);
    expect((await store.restoration())?.numbersUpTo, 'for key sets that are forgotten').toBe(8_006);
  });

  test('given numbers near their end, then no more are passed over than leave room for rotations', async () => {
    const [before, previous] = await open();
    await addKeySet(previous, keySetChange({}, keyVersion(899_500)));
    await mark(readPredecessor(before));
    expect(await nextNumber()).toBe(900_001);
    const [further, later] = await open();
    await addKeySet(later, keySetChange({}, keyVersion(950_000)));
    await mark(readPredecessor(further));
    expect(await nextNumber()).toBe(950_001);
  });

  test('given it was never restored, then there is no restoration', async () => {
    expect(await store.restoration()).toBeUndefined();
    expect(await nextNumber()).toBe(2);
  });
});

describe('what was open at the time of the backup', () => {
  const ticket = (id: string, expiresAt: Date) => ({
    id,
    device: deviceId('egm-1'),
    salt: '00',
    codeHash: sha256(id),
    createdAt: second(1),
    createdBy: 'grace',
    expiresAt,
  });

  test('then tickets and approvals are void, and one audit record tells it all', async () => {
    await store.addTicket(ticket('t-1', second(9_000)), event('device.ticket'));
    await store.addTicket(ticket('t-2', second(2)), event('device.ticket'));
    await store.addApproval(approval(1), event('approval.request'));
    const head = await store.auditHead();
    expect(await mark()).toMatchObject({ tickets: 1, approvals: 1, contained: [] });
    expect((await store.approvals('expired', 9)).map(({ id }) => id)).toEqual([approval(1).id]);
    const [record] = await store.auditRecords(head.seq, 9);
    expect(record).toMatchObject({
      action: 'gateway.restore',
      actor: { type: 'console' },
      details: { abandoned: null, tickets: 1, approvals: 1 },
    });
  });
});

describe('containment since the backup', () => {
  test('given the database before, then it is taken over; what the backup contains stays contained', async () => {
    const [before, previous] = await open();
    const certificate = await enrol(store, 'egm-1');
    await importDevices(previous, 'egm-1', 'egm-2', 'egm-3');
    const contain = (on: Store, id: string, state: DeviceState) =>
      on.decideDevice(deviceId(id), second(5), () => ({
        kind: 'change',
        state,
        revokeCertificates: undefined,
        resetHistory: false,
        audit: [],
      }));
    await contain(previous, 'egm-1', { kind: 'revoked' });
    await contain(previous, 'egm-2', { kind: 'quarantined', code: 'report.forked' });
    await contain(previous, 'egm-3', { kind: 'revoked' });
    await contain(store, 'egm-2', { kind: 'revoked' });
    const list = { number: 7, der: Buffer.from('list'), thisUpdate: second(1), nextUpdate: second(9) };
    await previous.addCrl(list, event('crl.issue'));

    expect((await mark(readPredecessor(before))).contained).toEqual(['egm-1']);
    expect((await store.deviceRecord(deviceId('egm-1')))?.state).toEqual({ kind: 'revoked' });
    expect((await store.revokedCertificates()).map(({ serial }) => serial)).toEqual([certificate.serial]);
    expect((await store.deviceRecord(deviceId('egm-2')))?.state, 'nothing is loosened').toEqual({ kind: 'revoked' });
    expect((await store.recentCrls(1))[0], 'lists are numbered upwards').toMatchObject({ number: 7 });
  });
});
