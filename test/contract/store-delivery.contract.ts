import { expect, it } from 'vitest';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  accepted,
  addKeySet,
  approvalId,
  connect,
  deliveryState,
  deviceId,
  enrol,
  event,
  importDevices,
  inventoryRow,
  issue,
  intent,
  keySetChange,
  keyVersion,
  moveRollout,
  newTarget,
  proof,
  recordReport,
  reEnrolment,
  report,
  rolloutId,
  rolloutRecord,
  rolloutStart,
  rotation,
  second,
  startRotation,
  sha256,
  targetMove,
  trust,
  trustBundle,
  trustRollout,
  verified,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { DeviceClass, KeySetName } from '#schema/ids.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

export function deliveryContract(current: CurrentStore): void {
  it('given a device in a rotation, when its report is decided on, then the decision sees everything about it', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    const elsewhere = {
      name: KeySetName.parse('kiosk-mac'),
      selector: { class: [DeviceClass.parse('kiosk')] },
    };
    await addKeySet(store, keySetChange(elsewhere));
    await startRotation(store, rotation(1));
    await store.appendTrustBundle(trustBundle(1, null), second(11), event('trust.publish'));
    const state = await deliveryState(store, certificate);
    expect(state?.device).toMatchObject({ id: 'egm-1', currentSerial: certificate.serial });
    expect(state?.identity).toEqual(certificate);
    expect(
      state?.keySets.map(({ name, revision, versions }) => [name, revision, versions.map((entry) => entry.version)]),
    ).toEqual([[WALLET, second(10).getTime(), [1, 2]]]);
    expect(state?.rollouts.map(({ rollout, target }) => [rollout.id, target?.state])).toEqual([
      [rolloutId(1), 'pending'],
    ]);
    expect(state?.trustReleased).toBe(1);
    expect(state?.sync.dueAt).toEqual(second(0));
  });

  it('given an identity that is next, withheld or revoked, when a report is decided on, then there is no identity', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const next = await issue(store, intent('egm-1'));
    expect((await deliveryState(store, next))?.identity).toBeUndefined();
    await store.promoteCertificate(next.serial, second(2));
    expect((await deliveryState(store, next))?.identity?.serial).toBe(next.serial);
    const change = { kind: 'change', state: { kind: 'enrolled' }, resetHistory: false, audit: [] } as const;
    await store.decideDevice(deviceId('egm-1'), second(3), () => ({ ...change, revokeCertificates: 'keyCompromise' }));
    expect((await deliveryState(store, next))?.identity).toBeUndefined();
  });

  it('given certificates that a campaign for leaked keys replaced, when the device uses another, then only those are revoked', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const leaked = await enrol(store, 'egm-1');
    const another = await enrol(store, 'egm-2');
    const renewed = await issue(store, intent('egm-1', 2, { createdAt: second(60) }));
    await store.promoteCertificate(renewed.serial, second(61));
    const campaign = { reason: 'compromise', selector: {}, issuer: undefined, before: second(50) } as const;
    await recordReport(store, renewed, 1, accepted({ exposed: [campaign] }));
    expect((await store.revokedCertificates()).map(({ serial }) => serial)).toEqual([leaked.serial]);
    const held = (await store.device(deviceId('egm-1')))?.certificates ?? [];
    expect(Object.fromEntries(held.map(({ serial, state }) => [serial, state]))).toEqual({
      [leaked.serial]: 'revoked',
      [renewed.serial]: 'issued',
    });
    expect((await store.device(deviceId('egm-2')))?.certificates).toMatchObject([
      { serial: another.serial, state: 'issued' },
    ]);
  });

  it('given versions that only a device holds, when they are learned, then the next report of the batch is decided with them', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const [one, two] = [await enrol(store, 'egm-1'), await enrol(store, 'egm-2')];
    await addKeySet(store);
    const lost = keyVersion(5, { state: 'deactivated', wrapped: undefined, kek: 'lost' });
    const learned = { versions: [lost], revisions: [{ keySet: WALLET, above: second(999).getTime() }] };
    const seen: unknown[] = [];
    await store.recordReports([verified(report('egm-1', 1), one), verified(report('egm-2', 1), two)], (state) => {
      seen.push(state.keySets.map(({ versions }) => versions.map((entry) => entry.version)));
      return accepted(state.device.id === 'egm-1' ? { learned, proofs: [proof(5, 'active')] } : {});
    });
    expect(seen).toEqual([[[1]], [[1, 5]]]);
    const keySet = await store.keySet(WALLET);
    expect(keySet?.versions.at(-1)).toEqual(lost);
    expect(keySet?.revision).toBe(second(999).getTime() + 1);
    expect((await store.device(deviceId('egm-1')))?.versions).toMatchObject([{ version: 5, state: 'active' }]);
  });

  it('given updates that were sent, when a report is decided on, then the decision can tell them from others', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const certificate = await enrol(store, 'egm-1');
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    const update = { seq: 7, sha256: sha256('body'), issuedAt: second(20), offered: [] };
    await store.recordUpdates([
      { ...update, device: deviceId('egm-1') },
      { ...update, device: deviceId('egm-2'), seq: 8 },
    ]);
    const memory = (await deliveryState(store, certificate))?.memory;
    expect([7, 8, 9].map((seq) => memory?.sent(seq))).toEqual([true, false, false]);
    expect([memory?.published(trust(1)), memory?.published(trust(2))]).toEqual([true, false]);
  });

  it('given a device that is far beyond an update, when its history begins anew, then that update is still known as sent', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const update = { device: deviceId('egm-1'), issuedAt: second(20), offered: [] };
    await store.recordUpdates([
      { ...update, seq: 7, sha256: sha256('an old body') },
      { ...update, seq: 900, sha256: sha256('the latest body') },
    ]);
    const passed = report('egm-1', 3, { lastSeq: 900 as never });
    await store.recordReports([verified(passed, certificate)], () => accepted({}));
    await store.decideDevice(deviceId('egm-1'), second(30), () => ({
      kind: 'change',
      state: { kind: 'enrolled' },
      revokeCertificates: undefined,
      resetHistory: true,
      audit: [event('device.re-baseline')],
    }));
    const memory = (await deliveryState(store, certificate))?.memory;
    expect([7, 8, 900].map((seq) => memory?.sent(seq))).toEqual([true, false, true]);
  });

  it('given an accepted report, when it is recorded, then the device stands as it says', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const message = report('egm-1', 3, {
      lastSeq: 5 as never,
      trustVersion: trust(2),
      clock: { now: second(3).toISOString(), trusted: false },
    });
    const outcome = accepted({
      dueAt: second(200),
      attempts: 2,
      boots: ['b-2', 'b-1'],
      reportedFrom: ['10.1.2.3', '10.9.9.9'],
      unexpected: 'wallet-kek/9',
      audit: [event('device.report')],
    });
    const results = await store.recordReports([verified(message, certificate, { address: '10.1.2.3' })], () => outcome);
    expect(results).toEqual([outcome]);
    expect((await store.device(deviceId('egm-1')))?.sync).toEqual({
      device: 'egm-1',
      connected: false,
      address: '10.1.2.3',
      lastSeenAt: second(103),
      seq: 0,
      lastSeq: 5,
      counter: 3,
      digest: sha256('egm-1 3'),
      nonce: message.nonce,
      nonceAnswered: false,
      clockTrusted: false,
      boots: ['b-2', 'b-1'],
      reportedFrom: ['10.1.2.3', '10.9.9.9'],
      unexpected: 'wallet-kek/9',
      trustVersion: 2,
      agentVersion: '1.0.0',
      lastReportAt: second(103),
      dueAt: second(200),
      attempts: 2,
    });
    expect(await lastAudited(store)).toBe('device.report');
  });

  it('given proofs, when they repeat, then check values and times of unchanged ones stay', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await recordReport(store, certificate, 1, accepted({ proofs: [proof(1, 'active'), proof(2, 'stored')] }));
    await recordReport(
      store,
      certificate,
      2,
      accepted({
        proofs: [
          { ...proof(1, 'active'), kcv: undefined },
          { ...proof(2, 'active'), kcv: undefined },
        ],
      }),
    );
    expect((await store.device(deviceId('egm-1')))?.versions).toEqual([
      { keySet: WALLET, version: version(1), state: 'active', kcv: '0000000001', changedAt: second(101) },
      { keySet: WALLET, version: version(2), state: 'active', kcv: '0000000002', changedAt: second(102) },
    ]);
  });

  it('given a rollout, when reports move targets, then they move, and one that did not exist is made', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const [one, two] = [await enrol(store, 'egm-1'), await enrol(store, 'egm-2')];
    await addKeySet(store);
    await startRotation(store, rotation(1), (id) => (id === 'egm-1' ? { wave: 3, position: 7 } : undefined));
    const deferred = targetMove(1, 'stored', {
      wave: 3,
      position: 7,
      code: 'device.busy',
      deferredUntil: second(500),
      offeredAt: second(90),
      attempts: 2,
      changedAt: second(101),
    });
    await recordReport(store, one, 1, accepted({ targets: [deferred] }));
    const active = targetMove(1, 'active', { service: true, changedAt: second(102) });
    await recordReport(store, two, 1, accepted({ targets: [active] }));
    const rest = { reason: undefined, old: 'gone', signedOff: undefined };
    expect(await store.rolloutTargets(rolloutId(1), { limit: 10 })).toEqual([
      { ...deferred, device: 'egm-1', ...rest, connected: false, lastSeenAt: second(101) },
      { ...active, device: 'egm-2', ...rest, connected: false, lastSeenAt: second(101) },
    ]);
  });

  it('given a target that a person exempted, when a report moves it, then the reason and the sign-off stay', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    const { device } = certificate;
    const word = {
      device,
      state: 'pending',
      code: undefined,
      reason: 'in the workshop',
      signedOff: approvalId(1),
    } as const;
    await store.changeTargets(rolloutId(1), second(20), { devices: [device] }, () => ({
      kind: 'change',
      targets: [word],
      audit: [],
    }));
    await recordReport(store, certificate, 1, accepted({ targets: [targetMove(1, 'stored')] }));
    expect(await store.rolloutTargets(rolloutId(1), { limit: 10 })).toMatchObject([
      { state: 'stored', reason: 'in the workshop', signedOff: approvalId(1), old: 'waived' },
    ]);
  });

  it('given rollouts of every kind, when a device reports, then it sees those that concern it, with its targets', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const kiosk = inventoryRow('kiosk-1', { class: DeviceClass.parse('kiosk') });
    await store.importDevices([kiosk], second(0), event('device.import'));
    const [egm, other] = [await enrol(store, 'egm-1'), await enrol(store, 'kiosk-1')];
    await addKeySet(store, keySetChange({ selector: { class: [DeviceClass.parse('egm')] } }));
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    await startRotation(store, rotation(1));
    const bundle = trustBundle(2, sha256('bundle 1'));
    const distributed = trustRollout({ id: rolloutId(2), createdAt: second(11) });
    await store.startRollout(undefined, second(11), () => rolloutStart(distributed, { bundle }));
    const campaign = { ...reEnrolment().campaign, selector: { class: [DeviceClass.parse('kiosk')] } };
    const renewal = reEnrolment({ id: rolloutId(3), createdAt: second(12), campaign });
    await store.startRollout(undefined, second(12), () => rolloutStart(renewal));
    await store.addTargets(rolloutId(3), [newTarget('kiosk-1')], second(12));
    const seen = async (certificate: typeof egm) =>
      (await deliveryState(store, certificate))?.rollouts.map(({ rollout, target }) => [rollout, target?.state]);
    const opened = rolloutRecord();
    expect(await seen(egm)).toEqual([
      [opened, 'pending'],
      [distributed, undefined],
    ]);
    expect(await seen(other)).toEqual([
      [distributed, undefined],
      [renewal, 'pending'],
    ]);
  });

  it('given bundles that rollouts bring to some first, when a device reports, then the others are released', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const released = async () => {
      const seen = (await deliveryState(store, certificate))?.trustReleased;
      expect(await store.releasedTrustVersion()).toBe(seen);
      return seen;
    };
    expect(await released()).toBe(0);
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    const begin = async (number: number) => {
      const rollout = trustRollout({ id: rolloutId(number), toVersion: trust(number), state: 'approved' });
      const bundle = trustBundle(number, sha256(`bundle ${number - 1}`));
      await store.startRollout(undefined, second(number), () => rolloutStart(rollout, { bundle }));
      return rollout;
    };
    const changed = await begin(2);
    expect(await released()).toBe(1);
    const distributing = await moveRollout(store, changed, 20, { state: 'distributing' });
    expect(await released()).toBe(1);
    await moveRollout(store, distributing, 21, { state: 'aborted', finishedAt: second(21) });
    expect(await released()).toBe(1);
    const third = await begin(3);
    expect(await released()).toBe(1);
    const active = await moveRollout(store, third, 30, { state: 'active', activatedAt: second(30) });
    expect(await released()).toBe(3);
    const fourth = await begin(4);
    await moveRollout(store, active, 31, { state: 'superseded', finishedAt: second(31) });
    expect(await released()).toBe(3);
    await moveRollout(store, fourth, 32, { state: 'superseded', finishedAt: second(32) });
    await begin(5);
    expect(await released()).toBe(3);
  });

  it('given two reports of one device in a batch, when they are recorded, then the second is decided on what the first left', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const counters: number[] = [];
    await store.recordReports(
      [verified(report('egm-1', 1), certificate), verified(report('egm-1', 2), certificate)],
      (state) => {
        counters.push(state.sync.counter);
        return accepted();
      },
    );
    expect(counters).toEqual([0, 1]);
  });

  it('given a report of an unknown device in a batch, when it is recorded, then it is skipped and the others are not', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const results = await store.recordReports(
      [verified(report('nobody', 1), certificate), verified(report('egm-1', 1), certificate)],
      () => accepted(),
    );
    expect(results.map((outcome) => outcome?.kind)).toEqual([undefined, 'accepted']);
  });

  it('given a report that is ignored or refused, when it is recorded, then nothing changes but the refusal is audited', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    const before = await store.device(deviceId('egm-1'));
    await recordReport(store, certificate, 1, { kind: 'ignored', why: 'late' });
    expect(await lastAudited(store)).toBe('certificate.issue');
    await recordReport(store, certificate, 1, {
      kind: 'refused',
      code: 'certificate.superseded',
      audit: [event('report.refuse', { outcome: 'denied' })],
    });
    expect(await lastAudited(store)).toBe('report.refuse');
    expect(await store.device(deviceId('egm-1'))).toEqual(before);
  });

  it('given a forked report, when it quarantines the device, then that, its targets and the audit record are one', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    await recordReport(store, certificate, 1, {
      kind: 'quarantine',
      code: 'report.forked',
      audit: [event('device.quarantine')],
    });
    const detail = await store.device(deviceId('egm-1'));
    expect(detail?.device.state).toEqual({ kind: 'quarantined', code: 'report.forked' });
    expect(detail?.targets.map(({ state }) => state)).toEqual(['quarantined']);
    expect([detail?.sync.dueAt, detail?.sync.counter]).toEqual([undefined, 0]);
    expect(await lastAudited(store)).toBe('device.quarantine');
  });

  it('given a batch whose last decision throws or cannot be audited, when it is recorded, then no report of it is kept', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const [one, two] = [await enrol(store, 'egm-1'), await enrol(store, 'egm-2')];
    const batch = [verified(report('egm-1', 1), one), verified(report('egm-2', 1), two)];
    const before = await auditedActions(store);
    const boom = new Error('boom');
    await expect(
      store.recordReports(batch, (state) => {
        if (state.device.id === 'egm-2') throw boom;
        return accepted({ audit: [event('device.report')] });
      }),
    ).rejects.toBe(boom);
    await expectRefusal('internal.unexpected', () =>
      store.recordReports(batch, (state) =>
        accepted({ audit: [state.device.id === 'egm-2' ? UNWRITABLE : event('device.report')] }),
      ),
    );
    expect((await store.device(deviceId('egm-1')))?.sync.counter).toBe(0);
    expect(await auditedActions(store)).toEqual(before);
    await store.recordReports(batch, () => accepted({ audit: [event('device.report')] }));
    expect((await store.device(deviceId('egm-1')))?.sync.counter).toBe(1);
  });

  it('given writes asked for at once, when one of them fails, then it fails alone and the chain holds all others', async () => {
    const { store } = current();
    const writes = [0, 1, 2, 3].map((number) =>
      number === 2
        ? store.importDevices([inventoryRow('egm-0')], second(0), event('device.import'))
        : store.importDevices([inventoryRow(`egm-${number}`)], second(0), event('device.import')),
    );
    expect((await Promise.allSettled(writes)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect((await store.deviceCounts()).total).toBe(3);
    expect(await auditedActions(store)).toHaveLength(3);
  });

  it('given what has been written, when the store is opened again, then it is all there', async () => {
    const under = current();
    await importDevices(under.store, 'egm-1');
    const certificate = await enrol(under.store, 'egm-1');
    await addKeySet(under.store, keySetChange({}, keyVersion(1)));
    await connect(under.store, 'egm-1');
    await recordReport(under.store, certificate, 1, accepted({ proofs: [proof(1, 'active')] }));
    const [before, keySets, head] = [
      await under.store.device(deviceId('egm-1')),
      await under.store.keySets(),
      await under.store.auditHead(),
    ];
    const store = await under.reopen();
    expect(await store.device(deviceId('egm-1'))).toEqual(before);
    expect(await store.keySets()).toEqual(keySets);
    expect(await store.auditHead()).toEqual(head);
  });
}
