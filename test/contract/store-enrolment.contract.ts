import { expect, it } from 'vitest';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  accepted,
  deviceId,
  enrol,
  enrolmentId,
  event,
  fingerprintOf,
  importDevices,
  intent,
  issue,
  issueOutcome,
  knownDevice,
  parkedRequest,
  proof,
  query,
  recordReport,
  refusal,
  second,
  sha256,
} from '#test/support/store-fixtures.ts';
import type { EnrolmentQuery, EnrolmentState } from '#gateway/ports/store/enrolment.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

/** What an enrolment decision would see. */
async function seen(store: Store, of: EnrolmentQuery): Promise<EnrolmentState> {
  let state: EnrolmentState | undefined;
  await store.decideEnrolment(of, (loaded) => {
    state = loaded;
    return { kind: 'wait', retryAfter: 1 };
  });
  if (state === undefined) throw new Error('the decision was not called');
  return state;
}

export function enrolmentContract(current: CurrentStore): void {
  const first = intent('egm-1');

  it('given a device with a ticket, when a certificate is issued, then intent, key and ticket are recorded at once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const ticket = {
      id: 't-1',
      device: deviceId('egm-1'),
      salt: '00',
      codeHash: '11',
      createdAt: second(0),
      createdBy: 'bob',
      expiresAt: second(60),
    };
    await store.addTicket(ticket, event('device.ticket'));
    const before = await seen(store, query(first));
    expect(before.tickets).toMatchObject([{ id: 't-1', consumedAt: undefined, expiresAt: second(60) }]);
    expect([before.keyOwner, before.repeated, before.request, before.pendingRequests]).toEqual([
      undefined,
      undefined,
      undefined,
      0,
    ]);

    await store.decideEnrolment(query(first), () => issueOutcome(first, { ticket: 't-1' }));
    const after = await seen(store, query(first));
    expect(after.tickets).toMatchObject([{ id: 't-1', consumedAt: first.createdAt, consumedCsr: first.csrSha256 }]);
    expect(after.keyOwner).toBe('egm-1');
    expect(after.repeated).toMatchObject({
      serial: first.serial,
      state: 'intended',
      der: undefined,
      fingerprint: undefined,
    });
    expect(Buffer.from(after.repeated?.tbs ?? [])).toEqual(first.tbs);
    expect(await lastAudited(store)).toBe('certificate.intend');
  });

  it('given an intent, when its certificate is completed twice, then the first bytes stay and it is audited once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await issue(store, first);
    expect(certificate).toMatchObject({ state: 'issued', fingerprint: fingerprintOf(first) });
    expect(await knownDevice(store, 'egm-1')).toMatchObject({
      state: { kind: 'enrolled' },
      nextSerial: first.serial,
      currentSerial: undefined,
    });
    const again = await store.completeCertificate(
      first.serial,
      Buffer.from('another signature'),
      sha256('another'),
      second(9),
      event('certificate.issue'),
    );
    expect(again).toEqual(certificate);
    expect((await auditedActions(store)).filter((action) => action === 'certificate.issue')).toHaveLength(1);
    expect((await store.certificateByFingerprint(fingerprintOf(first)))?.device.id).toBe('egm-1');
    expect(await store.certificateByFingerprint(sha256('another'))).toBeUndefined();
  });

  it('given no intent, when a certificate is completed, then it is refused as unknown', async () => {
    const { store } = current();
    await expectRefusal('certificate.unknown', () =>
      store.completeCertificate(first.serial, Buffer.from('der'), sha256('der'), second(1), event('certificate.issue')),
    );
  });

  it('given an intent whose audit record cannot be written, when it is decided, then there is no intent', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await expectRefusal('internal.unexpected', () =>
      store.decideEnrolment(query(first), () => ({ ...issueOutcome(first), audit: [UNWRITABLE] })),
    );
    const state = await seen(store, query(first));
    expect([state.repeated, state.keyOwner]).toEqual([undefined, undefined]);
  });

  it('given a key that one device has used, when another is issued a certificate for it, then it is refused', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await issue(store, first);
    const stolen = intent('egm-2', 1, { spkiSha256: first.spkiSha256 });
    await expectRefusal('csr.key-already-used', () => store.decideEnrolment(query(stolen), () => issueOutcome(stolen)));
    await issue(store, intent('egm-1', 2, { spkiSha256: first.spkiSha256 }));
  });

  it('given a next identity, when it is used first, then it becomes current, and a second use changes nothing', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await enrol(store, 'egm-1');
    const renewed = await issue(store, intent('egm-1', 2));
    expect(await knownDevice(store, 'egm-1')).toMatchObject({
      currentSerial: first.serial,
      nextSerial: renewed.serial,
    });
    await store.promoteCertificate(renewed.serial, second(3));
    const promoted = await knownDevice(store, 'egm-1');
    expect(promoted).toMatchObject({ currentSerial: renewed.serial, nextSerial: undefined });
    await store.promoteCertificate(renewed.serial, second(4));
    await store.promoteCertificate(first.serial, second(5));
    expect(await knownDevice(store, 'egm-1')).toEqual(promoted);
  });

  it('given a newer identity, when an older intent is completed late, then the newer one stays next', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.decideEnrolment(query(first), () => issueOutcome(first));
    const newer = await issue(store, intent('egm-1', 2));
    await store.completeCertificate(
      first.serial,
      Buffer.from('late'),
      sha256('late'),
      second(9),
      event('certificate.issue'),
    );
    expect((await knownDevice(store, 'egm-1')).nextSerial).toBe(newer.serial);
  });

  it('given reports of a device, when a certificate that a person vouched for is used first, then its history starts anew', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await recordReport(store, certificate, 5, accepted({ proofs: [proof(1, 'active')] }));
    const renewal = await issue(store, intent('egm-1', 2));
    await store.promoteCertificate(renewal.serial, second(3));
    expect((await store.device(deviceId('egm-1')))?.sync.counter).toBe(5);
    const fresh = await issue(store, intent('egm-1', 3, { freshStart: true }));
    expect((await store.device(deviceId('egm-1')))?.sync.counter).toBe(5);
    await store.promoteCertificate(fresh.serial, second(4));
    expect((await store.device(deviceId('egm-1')))?.sync).toMatchObject({ counter: 0, digest: undefined, boots: [] });
    expect((await store.device(deviceId('egm-1')))?.versions.map(({ state }) => state)).toEqual(['offered']);
  });

  it('given an intent that broke a rule, when it is withheld, then it can never be completed', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.decideEnrolment(query(first), () => issueOutcome(first));
    await store.withholdCertificate(first.serial, event('certificate.withhold'));
    await store.withholdCertificate(first.serial, event('certificate.withhold'));
    expect((await auditedActions(store)).filter((action) => action === 'certificate.withhold')).toHaveLength(1);
    await expectRefusal('certificate.invariant-broken', () =>
      store.completeCertificate(first.serial, Buffer.from('der'), sha256('der'), second(2), event('certificate.issue')),
    );
    const released = await issue(store, intent('egm-1', 2));
    await expectRefusal('certificate.invariant-broken', () =>
      store.withholdCertificate(released.serial, event('certificate.withhold')),
    );
  });

  it('given a device quarantined after its intent, when the certificate is completed, then it is not released', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.decideEnrolment(query(first), () => issueOutcome(first));
    const change = { kind: 'change', revokeCertificates: undefined, resetHistory: false, audit: [] } as const;
    await store.decideDevice(deviceId('egm-1'), second(2), () => ({
      ...change,
      state: { kind: 'quarantined', code: 'report.forked' },
    }));
    await expectRefusal('enrolment.quarantined', () =>
      store.completeCertificate(first.serial, Buffer.from('der'), sha256('der'), second(3), event('certificate.issue')),
    );
    await store.decideDevice(deviceId('egm-1'), second(4), () => ({ ...change, state: { kind: 'registered' } }));
    expect(
      (
        await store.completeCertificate(
          first.serial,
          Buffer.from('der'),
          sha256('der'),
          second(5),
          event('certificate.issue'),
        )
      ).state,
    ).toBe('issued');
  });

  it('given a presented certificate, when a renewal is decided, then its owner is the device, whatever the request claims', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await enrol(store, 'egm-1');
    const claim = query(intent('egm-2'), { presented: fingerprintOf(first) });
    const state = await seen(store, claim);
    expect([state.device?.id, state.presented?.serial]).toEqual(['egm-1', first.serial]);
    expect((await seen(store, { ...claim, presented: undefined })).device?.id).toBe('egm-2');
  });

  it('given a request approved for a device, when the device is revoked and released, then the approval is gone', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const request = parkedRequest(1);
    const asked = { device: undefined, csrSha256: request.csrSha256, spkiSha256: sha256('x'), presented: undefined };
    await store.decideEnrolment(asked, () => ({ kind: 'park', request, retryAfter: 60, audit: [] }));
    const device = deviceId('egm-1');
    await store.decideRequest(request.id, second(7), () => ({
      kind: 'decide',
      state: 'approved',
      device,
      by: 'eve',
      audit: [],
    }));
    const change = { kind: 'change', resetHistory: false, audit: [] } as const;
    await store.decideDevice(device, second(8), () => ({
      ...change,
      state: { kind: 'revoked' },
      revokeCertificates: 'keyCompromise',
    }));
    await store.decideDevice(device, second(9), () => ({
      ...change,
      state: { kind: 'registered' },
      revokeCertificates: undefined,
    }));
    expect((await seen(store, asked)).request?.state).toBe('refused');
  });

  it('given a stranger, when it is parked, approved for a device and issued, then the request follows', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const request = parkedRequest(1);
    const asked: EnrolmentQuery = {
      device: undefined,
      csrSha256: request.csrSha256,
      spkiSha256: sha256('stranger'),
      presented: undefined,
    };
    await store.decideEnrolment(asked, () => ({
      kind: 'park',
      request,
      retryAfter: 60,
      audit: [event('enrolment.park')],
    }));
    expect(await seen(store, asked)).toMatchObject({
      device: undefined,
      request: { id: request.id, state: 'pending' },
      pendingRequests: 1,
    });
    expect(await store.enrolmentRequests('pending', 10)).toHaveLength(1);

    const outcome = await store.decideRequest(request.id, second(7), (found, device) => {
      expect(found?.state).toBe('pending');
      expect([device(deviceId('egm-1'))?.id, device(deviceId('nobody'))]).toEqual(['egm-1', undefined]);
      return {
        kind: 'decide',
        state: 'approved',
        device: deviceId('egm-1'),
        by: 'eve',
        audit: [event('enrolment.approve')],
      };
    });
    expect(outcome.kind).toBe('decide');
    expect(await seen(store, asked)).toMatchObject({
      device: { id: 'egm-1' },
      request: { state: 'approved', decidedBy: 'eve', decidedAt: second(7) },
      pendingRequests: 0,
    });

    const granted = intent('egm-1', 1, { csrSha256: request.csrSha256 });
    await store.decideEnrolment(asked, () => issueOutcome(granted, { request: request.id }));
    expect((await store.enrolmentRequests(undefined, 10)).map(({ state }) => state)).toEqual(['issued']);
    expect(await store.enrolmentRequests('pending', 10)).toEqual([]);
  });

  it('given an unknown request, when it is refused, then only the refusal is recorded', async () => {
    const { store } = current();
    const outcome = await store.decideRequest(enrolmentId(9), second(1), (found) => {
      expect(found).toBeUndefined();
      return refusal('input.invalid');
    });
    expect(outcome.kind).toBe('refuse');
    expect(await auditedActions(store)).toEqual(['test.refuse']);
  });

  it('given a refused enrolment, when it is decided, then only the refusal is recorded', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.decideEnrolment(query(first), () => refusal('enrolment.code-invalid'));
    expect(await lastAudited(store)).toBe('test.refuse');
    expect((await seen(store, query(first))).repeated).toBeUndefined();
  });

  it('given revocation lists, when the latest is asked for, then it is the one with the highest number', async () => {
    const { store } = current();
    expect(await store.latestCrl()).toBeUndefined();
    for (const number of [1, 2]) {
      const crl = {
        number,
        der: Buffer.from(`crl ${number}`),
        thisUpdate: second(number),
        nextUpdate: second(100 + number),
      };
      await store.addCrl(crl, event('crl.publish'));
    }
    expect(await store.latestCrl()).toEqual({ number: 2, der: Buffer.from('crl 2'), nextUpdate: second(102) });
    expect((await store.recentCrls(1)).map(({ number }) => number)).toEqual([2]);
    expect((await store.recentCrls(9)).map(({ der }) => der)).toEqual([Buffer.from('crl 2'), Buffer.from('crl 1')]);
  });
}
