import { expect, it } from 'vitest';
import { Seq } from '#schema/ids.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import type { DeliveryState, DispatchOutcome, RecordedUpdate } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import {
  accepted,
  addKeySet,
  connect,
  deviceId,
  enrol,
  importDevices,
  keyVersion,
  proof,
  recordReport,
  report,
  rolloutId,
  rotation,
  second,
  startRotation,
  sha256,
  targetMove,
  targetSteps,
  trust,
  verified,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import type { CurrentStore } from './store-under-test.ts';

const settled: DispatchOutcome = { kind: 'settle', dueAt: undefined, attempts: 0, targets: [] };

function send(
  state: DeliveryState,
  seq: number,
  over: { nonce?: string | undefined; targets?: DispatchOutcome['targets'] } = {},
): DispatchOutcome {
  const { device, identity } = state;
  if (identity === undefined) throw new Error('the test has not enrolled the device');
  return {
    kind: 'send',
    update: {
      device,
      identity,
      seq,
      nonce: over.nonce,
      trustVersion: trust(0),
      trustFrom: trust(0),
      keyrings: [],
      renew: undefined,
    },
    dueAt: second(300),
    attempts: 1,
    targets: over.targets ?? [],
  };
}

const taken = async (store: Store, limit: number, now: Date): Promise<readonly string[]> => {
  const devices: string[] = [];
  await store.takeDue(limit, now, (state) => {
    devices.push(state.device.id);
    return settled;
  });
  return devices;
};

const update = (seq: number, body: string): RecordedUpdate => ({
  device: deviceId('egm-1'),
  seq,
  sha256: sha256(body),
  issuedAt: second(seq),
  offered: [{ keySet: WALLET, version: version(2), kcv: keyVersion(2).kcv }],
});

export function dispatchContract(current: CurrentStore): void {
  it('given devices that are due, when they are taken, then connected ones come, the longest waiting first, once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2', 'egm-3', 'egm-4');
    await connect(store, 'egm-1', 'egm-2', 'egm-3');
    await store.markDue([deviceId('egm-1'), deviceId('egm-4')], second(10));
    await store.markDue([deviceId('egm-3')], second(5));
    expect(await store.nextDue()).toEqual(second(5));
    expect(await taken(store, 10, second(4))).toEqual([]);
    expect(await taken(store, 1, second(10))).toEqual(['egm-3']);
    expect(await taken(store, 10, second(10))).toEqual(['egm-1']);
    expect(await taken(store, 10, second(10))).toEqual([]);
    expect(await store.nextDue()).toBeUndefined();
    await connect(store, 'egm-4');
    expect(await store.nextDue()).toEqual(second(10));
  });

  it('given a device that claims the highest number there is, when it is answered, then the others are served still', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    const certificate = await enrol(store, 'egm-1');
    const highest = 2 ** 52;
    expect(Seq.safeParse(highest + 1).success).toBe(false);
    const claiming = verified(report('egm-1', 1, { lastSeq: Seq.parse(highest) }), certificate);
    await store.recordReports([claiming], () => accepted({ dueAt: second(101) }));
    await connect(store, 'egm-1', 'egm-2');
    for (const after of [1, 2]) {
      await store.takeDue(1, second(200 + 100 * after), (state) => send(state, highest + after));
      expect((await store.device(deviceId('egm-1')))?.sync).toMatchObject({ lastSeq: highest, seq: highest + after });
    }
    await store.markDue([deviceId('egm-2')], second(102));
    expect(await taken(store, 10, second(500))).toEqual(['egm-2', 'egm-1']);
  });

  it('given a due mark, when it is raised again, then the earlier time holds', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    for (const at of [10, 20, 5]) await store.markDue([deviceId('egm-1')], second(at));
    expect((await store.device(deviceId('egm-1')))?.sync.dueAt).toEqual(second(5));
  });

  it('given a device that is due, when an update answers its nonce, then seq, answer and the next look are kept', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await recordReport(store, certificate, 1, accepted({ dueAt: second(101) }));
    await connect(store, 'egm-1');
    const { nonce } = report('egm-1', 1);
    const outcomes = await store.takeDue(10, second(200), (state) => send(state, 777, { nonce: state.sync.nonce }));
    expect(outcomes.map(({ kind }) => kind)).toEqual(['send']);
    expect((await store.device(deviceId('egm-1')))?.sync).toMatchObject({
      seq: 777,
      nonce,
      nonceAnswered: true,
      dueAt: second(300),
      attempts: 1,
    });
    await store.takeDue(10, second(300), (state) => send(state, 778));
    expect((await store.device(deviceId('egm-1')))?.sync).toMatchObject({ seq: 778, nonceAnswered: true });
  });

  it('given an update that answers no nonce or another one, when it is sent, then the nonce is still unanswered', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await connect(store, 'egm-1');
    for (const nonce of [undefined, 'AAAAAAAAAAAAAAAAAAAAAA']) {
      await recordReport(store, certificate, 1, accepted({ dueAt: second(101) }));
      await store.takeDue(10, second(200), (state) => send(state, 777, { nonce }));
      expect((await store.device(deviceId('egm-1')))?.sync.nonceAnswered).toBe(false);
    }
  });

  it('given a target, when an update moves it, then it stands as decided, and one that does not change is not written', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    await recordReport(store, certificate, 1, accepted({ dueAt: second(0) }));
    await connect(store, 'egm-1');
    const offered = targetMove(1, 'offered', { offeredAt: second(210), attempts: 1, changedAt: second(210) });
    const moves = [
      offered,
      { ...offered, attempts: 2 },
      { ...offered, attempts: 2 },
      { ...offered, state: 'stalled', code: 'device.silent', attempts: 2, changedAt: second(410) },
    ] as const;
    for (const [index, move] of moves.entries()) {
      const at = 200 + 10 * index;
      await store.takeDue(10, second(at), (found) => send(found, at, { targets: [move] }));
      await store.markDue([deviceId('egm-1')], second(at));
    }
    const [target] = await store.rolloutTargets(rolloutId(1), { limit: 10 });
    expect(target).toMatchObject({ state: 'stalled', offeredAt: second(210), attempts: 2, changedAt: second(410) });
    const steps = await targetSteps(store, { device: deviceId('egm-1') });
    expect(steps.map(({ from, to, at, code }) => [from, to, at, code])).toEqual([
      [undefined, 'pending', second(10), undefined],
      ['pending', 'offered', second(210), undefined],
      ['offered', 'stalled', second(410), 'device.silent'],
    ]);
  });

  it('given a decision that throws, when devices are taken, then all of them stay due', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await connect(store, 'egm-1', 'egm-2');
    await store.markDue([deviceId('egm-1'), deviceId('egm-2')], second(1));
    const failing = store.takeDue(10, second(2), (state) => {
      if (state.device.id === 'egm-2') throw new Error('boom');
      return settled;
    });
    await expect(failing).rejects.toThrow('boom');
    expect(await taken(store, 10, second(2))).toEqual(['egm-1', 'egm-2']);
  });

  it('given an update, when it is recorded, then what it offers is held as offered, and proofs outweigh it', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    await store.recordUpdates([update(1, 'body')]);
    const versions = async () =>
      (await store.device(deviceId('egm-1')))?.versions.map(({ state, kcv }) => [state, kcv]);
    expect(await versions()).toEqual([['offered', '0000000002']]);
    await recordReport(store, certificate, 1, accepted({ proofs: [proof(2, 'stored')] }));
    await store.recordUpdates([update(2, 'body 2')]);
    expect(await versions()).toEqual([['stored', '0000000002']]);
  });

  it('given a recorded update, when another body claims its number, then it is refused; the same one is not', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.recordUpdates([update(5, 'body')]);
    await expectRefusal('message.conflict', () => store.recordUpdates([update(6, 'new'), update(5, 'other body')]));
    await store.recordUpdates([update(5, 'body')]);
    await store.recordUpdates([update(6, 'never recorded by the refused call')]);
  });

  it('given devices that come and go, when presence changes, then it is counted, and none is there after a start', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2');
    await connect(store, 'egm-1', 'egm-2');
    await store.setPresence([{ device: deviceId('egm-2'), connected: false, address: undefined, at: second(9) }]);
    expect((await store.device(deviceId('egm-2')))?.sync).toMatchObject({
      connected: false,
      address: '10.0.0.1',
      lastSeenAt: second(9),
    });
    expect((await store.deviceCounts()).connected).toBe(1);
    await store.clearPresence();
    expect((await store.deviceCounts()).connected).toBe(0);
  });
}
