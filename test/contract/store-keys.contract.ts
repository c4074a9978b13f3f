import { expect, it } from 'vitest';
import { DeviceClass } from '#schema/ids.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  addKeySet,
  connect,
  deviceId,
  event,
  importDevices,
  inventoryRow,
  keySetChange,
  keyVersion,
  moveRollout,
  rolloutId,
  rolloutRecord,
  rolloutStart,
  rotation,
  second,
  startRotation,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { auditedActions, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

const unchanged = { retired: false, erase: false } as const;

export function keysContract(current: CurrentStore): void {
  it('given a rollout, when it goes all the way, then times, states and revisions follow, and it ends once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    let rollout = await startRotation(store, rotation(1));
    rollout = await moveRollout(store, rollout, 20, { state: 'ready' });
    expect((await store.keySet(WALLET))?.revision, 'at least the clock').toBe(second(10).getTime());
    rollout = await moveRollout(
      store,
      rollout,
      30,
      { state: 'active', activatedAt: second(30) },
      {
        versions: [
          { version: version(2), state: 'active', ...unchanged },
          { version: version(1), state: 'deactivated', ...unchanged },
        ],
      },
    );
    const retire = { version: version(1), state: 'deactivated', retired: true, erase: false } as const;
    rollout = await moveRollout(
      store,
      rollout,
      40,
      { state: 'retired', retiredAt: second(40) },
      { versions: [retire] },
    );
    const erase = { version: version(1), state: 'destroyed', retired: true, erase: true } as const;
    rollout = await moveRollout(store, rollout, 50, { state: 'destroying' }, { versions: [erase] });
    await moveRollout(store, rollout, 60, { state: 'destroyed', finishedAt: second(60) });
    const keySet = await store.keySet(WALLET);
    expect(keySet?.revision).toBe(second(50).getTime());
    expect(keySet?.versions).toEqual([
      {
        ...keyVersion(1),
        state: 'destroyed',
        wrapped: undefined,
        deactivatedAt: second(30),
        retiredAt: second(40),
        destroyedAt: second(50),
      },
      { ...rotation(1).version, state: 'active', activatedAt: second(30) },
    ]);
    expect((await store.rollout(rolloutId(1)))?.rollout).toEqual(
      rolloutRecord({
        state: 'destroyed',
        activatedAt: second(30),
        retiredAt: second(40),
        finishedAt: second(60),
      }),
    );
    expect(await store.rollouts(true, 10)).toEqual([]);
    expect((await store.rollouts(false, 10)).map(({ id }) => id)).toEqual([rolloutId(1)]);
    expect((await auditedActions(store)).slice(-5)).toEqual([
      'rollout.ready',
      'rollout.active',
      'rollout.retired',
      'rollout.destroying',
      'rollout.destroyed',
    ]);
  });

  it('given a version, when it is compromised and later deactivated, then it is known since when', async () => {
    const { store } = current();
    await addKeySet(store);
    const start = rolloutStart(rotation(1).rollout, {
      version: rotation(1).version,
      versions: [{ version: version(1), state: 'compromised', ...unchanged }],
    });
    await store.startRollout(WALLET, second(10), () => start);
    const rollout = await moveRollout(
      store,
      start.rollout,
      20,
      {},
      {
        versions: [{ version: version(1), state: 'compromised', retired: true, erase: false }],
      },
    );
    await moveRollout(
      store,
      rollout,
      30,
      {},
      {
        versions: [{ version: version(1), state: 'destroyed', retired: true, erase: true }],
      },
    );
    expect((await store.keySet(WALLET))?.versions[0]).toMatchObject({
      state: 'destroyed',
      compromisedAt: second(10),
      retiredAt: second(20),
      destroyedAt: second(30),
    });
    expect((await store.keySet(WALLET))?.revision).toBe(second(30).getTime());
  });

  it('given an activation, when it is decided, then the devices that the selector names become due', async () => {
    const { store } = current();
    await store.importDevices(
      [inventoryRow('egm-1'), inventoryRow('kiosk-1', { class: DeviceClass.parse('kiosk') })],
      second(0),
      event('device.import'),
    );
    await addKeySet(store, keySetChange({ selector: { class: [DeviceClass.parse('egm')] } }));
    await connect(store, 'egm-1', 'kiosk-1');
    const rollout = await startRotation(store, rotation(1));
    const idle = { kind: 'settle', dueAt: undefined, attempts: 0, targets: [] } as const;
    await store.takeDue(10, second(10), () => idle);
    const ready = await moveRollout(store, rollout, 20, { state: 'ready' });
    expect(await store.nextDue()).toBeUndefined();
    const activate = { version: version(2), state: 'active', ...unchanged } as const;
    await moveRollout(store, ready, 30, { state: 'active' }, { versions: [activate] });
    const due = await Promise.all(
      ['egm-1', 'kiosk-1'].map(async (id) => (await store.device(deviceId(id)))?.sync.dueAt),
    );
    expect(due).toEqual([second(30), undefined]);
  });

  it('given a version that the key set has not got, when a rollout changes it, then nothing of the step is kept', async () => {
    const { store } = current();
    await addKeySet(store);
    const rollout = await startRotation(store, rotation(1));
    const before = await store.rollout(rolloutId(1));
    await expectRefusal('keyset.version-not-found', () =>
      moveRollout(
        store,
        rollout,
        20,
        { state: 'active' },
        {
          versions: [{ version: version(9), state: 'active', ...unchanged }],
        },
      ),
    );
    expect(await store.rollout(rolloutId(1))).toEqual(before);
    expect((await store.keySet(WALLET))?.revision).toBe(second(10).getTime());
    const activate = { version: version(2), state: 'active', ...unchanged } as const;
    await moveRollout(store, rollout, 20, { state: 'active' }, { versions: [activate] });
    expect((await store.keySet(WALLET))?.revision).toBe(second(20).getTime());
  });

  it('given something that lasts, when it is noted again and again, then it is on record once, until it is another thing', async () => {
    const under = current();
    const note = (what: string, key = 'rotation:wallet-kek') =>
      under.store.noteOnce(key, what, event('keyset.rotation-due', { details: { what } }), second(1));
    expect(await Promise.all([note('1 due'), note('1 due')])).toEqual([true, false]);
    await under.reopen();
    expect([await note('1 due'), await note('1 overdue'), await note('1 due', 'rotation:mac')]).toEqual([
      false,
      true,
      true,
    ]);
    expect(await note('1 due')).toBe(true);
    await expectRefusal('internal.unexpected', () =>
      under.store.noteOnce('rotation:wallet-kek', '2 due', UNWRITABLE, second(2)),
    );
    expect(await note('2 due')).toBe(true);
    expect((await under.store.auditRecords(0, 10)).map(({ details }) => details?.['what'])).toEqual([
      '1 due',
      '1 overdue',
      '1 due',
      '1 due',
      '2 due',
    ]);
  });
}
