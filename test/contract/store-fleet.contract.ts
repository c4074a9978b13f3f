import { expect, it } from 'vitest';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  addKeySet,
  connect,
  deviceId,
  enrol,
  event,
  importDevices,
  intent,
  inventoryRow,
  issue,
  keySetChange,
  proof,
  accepted,
  knownDevice,
  recordReport,
  refusal,
  rolloutId,
  rotation,
  second,
  startRotation,
  sha256,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

const quarantined = { kind: 'quarantined', code: 'report.forked' } as const;
const change = {
  kind: 'change',
  revokeCertificates: undefined,
  resetHistory: false,
  audit: [event('device.change')],
} as const;

export function fleetContract(current: CurrentStore): void {
  it('given an inventory, when it is imported, then each device is registered, unheard of, and audited once', async () => {
    const { store } = current();
    const row = inventoryRow('egm-1', { labels: { zone: 'vip', bank: '7' } });
    await store.importDevices([row, inventoryRow('egm-2')], second(5), event('device.import'));
    const detail = await store.device(deviceId('egm-1'));
    expect(detail?.device).toEqual({
      id: 'egm-1',
      class: 'egm',
      site: 'main',
      serialNumber: 'SN-egm-1',
      labels: { zone: 'vip', bank: '7' },
      state: { kind: 'registered' },
      stateSince: second(5),
      createdAt: second(5),
      currentSerial: undefined,
      nextSerial: undefined,
    });
    expect(detail?.sync).toMatchObject({
      connected: false,
      counter: 0,
      seq: 0,
      boots: [],
      dueAt: undefined,
      lastSeenAt: undefined,
    });
    expect([detail?.versions, detail?.certificates, detail?.targets]).toEqual([[], [], []]);
    expect(await auditedActions(store)).toEqual(['device.import']);
  });

  it('given a device, when an import names it again, then nothing of the import is kept and the device is named', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const rows = [inventoryRow('egm-0'), inventoryRow('egm-1'), inventoryRow('egm-9')];
    const error = await expectRefusal('device.exists', () =>
      store.importDevices(rows, second(1), event('device.import')),
    );
    expect(error.message).toContain('egm-1');
    expect((await store.deviceCounts()).total).toBe(1);
    expect(await auditedActions(store)).toEqual(['device.import']);
    await store.importDevices([inventoryRow('egm-0'), inventoryRow('egm-9')], second(1), event('device.import'));
    expect((await store.deviceCounts()).total).toBe(3);
  });

  it('given an import whose audit record cannot be written, when it runs, then no device is there', async () => {
    const { store } = current();
    await expectRefusal('internal.unexpected', () =>
      store.importDevices([inventoryRow('egm-1')], second(0), UNWRITABLE),
    );
    expect(await store.deviceRecord(deviceId('egm-1'))).toBeUndefined();
  });

  it('given devices of several kinds, when they are listed, then filters hold and pages follow each other', async () => {
    const { store } = current();
    const rows = ['a', 'b', 'c', 'd', 'e'].map((id, index) =>
      inventoryRow(id, index % 2 === 0 ? {} : { class: inventoryRow('x', { class: 'kiosk' as never }).class }),
    );
    await store.importDevices(rows, second(0), event('device.import'));
    await connect(store, 'b', 'c');
    const ids = async (filter: Parameters<typeof store.devices>[0]) =>
      (await store.devices(filter)).map(({ device }) => device.id);
    expect(await ids({ limit: 2 })).toEqual(['a', 'b']);
    expect(await ids({ limit: 2, after: 'b' })).toEqual(['c', 'd']);
    expect(await ids({ limit: 10, class: 'kiosk' })).toEqual(['b', 'd']);
    expect(await ids({ limit: 10, connected: true })).toEqual(['b', 'c']);
    expect(await ids({ limit: 10, class: 'egm', connected: false })).toEqual(['a', 'e']);
    expect(await ids({ limit: 10, site: 'elsewhere' })).toEqual([]);
    expect(await ids({ limit: 10, state: 'registered', after: 'd' })).toEqual(['e']);
    expect(await store.deviceCounts()).toEqual({ total: 5, connected: 2, byState: { registered: 5 } });
  });

  it('given an enrolled device that is due, when it is quarantined, then it is not due and out of open rollouts', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    await store.decideDevice(deviceId('egm-1'), second(20), () => ({ ...change, state: quarantined }));
    const detail = await store.device(deviceId('egm-1'));
    expect(detail?.device.state).toEqual(quarantined);
    expect(detail?.device.stateSince).toEqual(second(20));
    expect(detail?.sync.dueAt).toBeUndefined();
    expect(detail?.targets.map(({ state, code }) => [state, code])).toEqual([['quarantined', 'report.forked']]);
    expect(detail?.certificates.map(({ serial, state }) => [serial, state])).toEqual([[certificate.serial, 'issued']]);
    expect((await store.device(deviceId('egm-2')))?.targets.map(({ state }) => state)).toEqual(['pending']);
    expect(await lastAudited(store)).toBe('device.change');
  });

  it('given a quarantined device, when the floor becomes due, then it does not', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await store.decideDevice(deviceId('egm-1'), second(1), () => ({ ...change, state: quarantined }));
    await addKeySet(store);
    await store.markDue([deviceId('egm-1'), deviceId('egm-2')], second(0));
    expect((await store.device(deviceId('egm-1')))?.sync.dueAt).toBeUndefined();
    expect((await store.device(deviceId('egm-2')))?.sync.dueAt).toEqual(second(0));
  });

  it('given a quarantined device, when it is released with a new history, then it is due and must prove everything anew', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    await recordReport(store, certificate, 7, accepted({ proofs: [proof(1, 'active'), proof(2, 'stored')] }));
    await store.decideDevice(deviceId('egm-1'), second(20), () => ({ ...change, state: quarantined }));
    await store.decideDevice(deviceId('egm-1'), second(30), () => ({
      ...change,
      state: { kind: 'enrolled' },
      resetHistory: true,
    }));
    const detail = await store.device(deviceId('egm-1'));
    expect(detail?.device.state).toEqual({ kind: 'enrolled' });
    expect(detail?.sync).toMatchObject({
      counter: 0,
      digest: undefined,
      boots: [],
      trustVersion: 0,
      nonce: undefined,
      dueAt: second(30),
    });
    expect(detail?.versions.map(({ version, state, kcv }) => [version, state, kcv])).toEqual([
      [1, 'offered', '0000000001'],
      [2, 'offered', '0000000002'],
    ]);
    expect(detail?.targets.map(({ state }) => state)).toEqual(['pending']);
  });

  it('given a device with certificates, when it is revoked, then issued and intended ones are revoked with it', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await enrol(store, 'egm-1');
    const open = intent('egm-1', 2);
    await store.decideEnrolment(
      { device: open.device, csrSha256: open.csrSha256, spkiSha256: open.spkiSha256, presented: undefined },
      () => ({
        kind: 'issue',
        intent: open,
        ticket: undefined,
        request: undefined,
        audit: [],
      }),
    );
    await store.decideDevice(deviceId('egm-1'), second(20), () => ({
      ...change,
      state: { kind: 'revoked' },
      revokeCertificates: 'keyCompromise',
    }));
    expect((await store.device(deviceId('egm-1')))?.certificates.map(({ state }) => state)).toEqual([
      'revoked',
      'revoked',
    ]);
    expect(await store.deviceRecord(deviceId('egm-1'))).toMatchObject({
      currentSerial: undefined,
      nextSerial: undefined,
    });
    expect((await store.revokedCertificates()).map(({ revokedAt }) => revokedAt)).toEqual([second(20), second(20)]);
    await expectRefusal('certificate.revoked', () =>
      store.completeCertificate(open.serial, Buffer.from('der'), sha256('der'), second(21), event('certificate.issue')),
    );
    expect(await issue(store, intent('egm-1', 3)).catch((error: unknown) => error)).toMatchObject({
      code: 'enrolment.quarantined',
    });
  });

  it('given a refusal, when a device is decided on, then only the refusal is recorded', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const before = await knownDevice(store, 'egm-1');
    const outcome = await store.decideDevice(deviceId('egm-1'), second(9), (device) => {
      expect(device).toEqual(before);
      return refusal('device.state-refused');
    });
    expect(outcome.kind).toBe('refuse');
    expect(await knownDevice(store, 'egm-1')).toEqual(before);
    expect(await lastAudited(store)).toBe('test.refuse');
  });

  it('given an unknown device, when it is decided on, then the decision sees none and cannot change it', async () => {
    const { store } = current();
    const decide = (device: unknown) => {
      expect(device).toBeUndefined();
      return { ...change, state: quarantined };
    };
    await expectRefusal('device.not-found', () => store.decideDevice(deviceId('nobody'), second(0), decide));
    expect(await auditedActions(store)).toEqual([]);
  });

  it('given a decision that throws, when it runs, then its error comes through and nothing is changed', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const boom = new Error('boom');
    await expect(
      store.decideDevice(deviceId('egm-1'), second(0), () => {
        throw boom;
      }),
    ).rejects.toBe(boom);
    expect((await knownDevice(store, 'egm-1')).state).toEqual({ kind: 'registered' });
    expect(await auditedActions(store)).toEqual(['device.import']);
  });

  it('given an inventory, when a ticket is added, then only a device of the inventory gets it', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const ticket = (device: string) => ({
      id: `t-${device}`,
      device: deviceId(device),
      salt: '00',
      codeHash: '11',
      createdAt: second(3),
      createdBy: 'bob',
      expiresAt: second(60),
    });
    await expectRefusal('device.not-found', () => store.addTicket(ticket('nobody'), event('device.ticket')));
    expect(await lastAudited(store)).toBe('device.import');
    await store.addTicket(ticket('egm-1'), event('device.ticket'));
    expect(await lastAudited(store)).toBe('device.ticket');
  });

  it('given a ticket that is out, when the device is revoked and released, then the ticket is of no use any more', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    for (const device of ['egm-1', 'egm-2']) {
      await store.addTicket(
        {
          id: `t-${device}`,
          device: deviceId(device),
          salt: '00',
          codeHash: '11',
          createdAt: second(3),
          createdBy: 'bob',
          expiresAt: second(60),
        },
        event('device.ticket'),
      );
    }
    await store.decideDevice(deviceId('egm-1'), second(20), () => ({
      ...change,
      state: { kind: 'revoked' },
      revokeCertificates: 'keyCompromise',
    }));
    await store.decideDevice(deviceId('egm-1'), second(30), () => ({ ...change, state: { kind: 'registered' } }));
    const ends = async (device: string): Promise<readonly Date[]> => {
      const { csrSha256, spkiSha256 } = intent(device, 1);
      let found: readonly Date[] = [];
      await store.decideEnrolment(
        { device: deviceId(device), csrSha256, spkiSha256, presented: undefined },
        ({ tickets }) => {
          found = tickets.map(({ expiresAt }) => expiresAt);
          return { kind: 'wait', retryAfter: 1 };
        },
      );
      return found;
    };
    expect(await ends('egm-1')).toEqual([second(20)]);
    expect(await ends('egm-2')).toEqual([second(60)]);
  });

  it('given proofs of two devices, when versions are counted, then each state is counted by version', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await addKeySet(store, keySetChange());
    const [one, two] = [await enrol(store, 'egm-1'), await enrol(store, 'egm-2')];
    await recordReport(store, one, 1, accepted({ proofs: [proof(1, 'active'), proof(2, 'stored')] }));
    await recordReport(store, two, 1, accepted({ proofs: [proof(1, 'active')] }));
    expect(await store.versionCounts(WALLET)).toEqual([
      { version: 1, state: 'active', devices: 2 },
      { version: 2, state: 'stored', devices: 1 },
    ]);
    expect(await store.rollout(rolloutId(1))).toBeUndefined();
  });
}
