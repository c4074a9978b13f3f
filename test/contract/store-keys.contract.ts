import { expect, it } from 'vitest';
import { DeviceClass, KeySetName, SiteName } from '#schema/ids.ts';
import { selects, type Selector } from '#schema/policy.ts';
import type { RolloutOutcome } from '#gateway/ports/store/keys.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  accepted,
  addKeySet,
  connect,
  deviceId,
  enrol,
  event,
  importDevices,
  inventoryRow,
  keySetChange,
  keyVersion,
  proof,
  recordReport,
  refusal,
  rolloutId,
  rotation,
  second,
  targetMove,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

type Advance = Extract<RolloutOutcome, { kind: 'advance' }>;
const advance = (state: Advance['state'], versions: Advance['versions'] = [], finished = false): Advance => ({
  kind: 'advance',
  state,
  versions,
  finished,
  audit: [event(`rollout.${state}`)],
});

const quarantine = {
  kind: 'change',
  state: { kind: 'quarantined', code: 'report.forked' },
  revokeCertificates: undefined,
  resetHistory: false,
  audit: [],
} as const;
const revoke = { ...quarantine, state: { kind: 'revoked' } } as const;

export function keysContract(current: CurrentStore): void {
  it('given a key set, when a rotation starts, then version, rollout, targets and due marks are there at once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1', 'egm-2', 'egm-3', 'egm-4');
    await addKeySet(store);
    await connect(store, 'egm-1', 'egm-2', 'egm-3', 'egm-4');
    await store.takeDue(10, second(1), () => ({ kind: 'settle', dueAt: undefined, attempts: 0, targets: [] }));
    await store.decideDevice(deviceId('egm-3'), second(5), () => quarantine);
    await store.decideDevice(deviceId('egm-4'), second(5), () => revoke);
    const asked: string[] = [];
    const start = rotation(1, 1, {
      target: (device) => {
        asked.push(device.id);
        return device.id === 'egm-2' ? undefined : { wave: 1, state: 'pending' };
      },
    });
    const outcome = await store.startRotation(WALLET, second(10), (keySet, open) => {
      expect([keySet?.revision, keySet?.versions.map(({ state }) => state), open]).toEqual([1, ['active'], []]);
      return start;
    });
    expect(outcome).toBe(start);
    expect(asked).toEqual(['egm-1', 'egm-2', 'egm-3']);
    const keySet = await store.keySet(WALLET);
    expect([keySet?.revision, keySet?.versions.at(-1)]).toEqual([2, start.version]);
    const targets = await store.rolloutTargets(rolloutId(1), { states: undefined, after: undefined, limit: 10 });
    expect(targets.map(({ device, state, wave }) => [device, state, wave])).toEqual([
      ['egm-1', 'pending', 1],
      ['egm-3', 'quarantined', 1],
    ]);
    const due = await Promise.all(
      ['egm-1', 'egm-2', 'egm-3', 'egm-4'].map(async (id) => (await store.device(deviceId(id)))?.sync.dueAt),
    );
    expect(due).toEqual([second(10), undefined, undefined, undefined]);
    expect((await store.rollout(rolloutId(1)))?.rollout).toEqual(start.rollout);
    expect(await lastAudited(store)).toBe('keyset.rotate');
  });

  it('given a rotation that is refused or cannot be audited, when it is asked for, then there is no version and no rollout', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await store.startRotation(WALLET, second(10), () => refusal('keyset.rotation-under-way'));
    await expectRefusal('internal.unexpected', () =>
      store.startRotation(WALLET, second(10), () => ({ ...rotation(1), audit: [UNWRITABLE] })),
    );
    expect((await store.keySet(WALLET))?.versions).toHaveLength(1);
    expect(await store.rollouts(undefined, 10)).toEqual([]);
    expect(await auditedActions(store)).toEqual(['device.import', 'policy.apply', 'test.refuse']);
  });

  it('given no such key set or rollout, when they are decided on, then the decision sees none and cannot start or move one', async () => {
    const { store } = current();
    await expectRefusal('keyset.not-found', () => store.startRotation(WALLET, second(1), () => rotation(1)));
    await expectRefusal('rollout.not-found', () =>
      store.advanceRollout(rolloutId(1), second(1), (rollout, keySet, progress) => {
        expect([rollout, keySet, progress.total]).toEqual([undefined, undefined, 0]);
        return advance('ready');
      }),
    );
    expect(await auditedActions(store)).toEqual([]);
  });

  it('given selectors by class, site and labels, when a rotation starts, then its targets are those that selects() names', async () => {
    const { store } = current();
    const rows = ['egm', 'kiosk'].flatMap((kind) =>
      ['main', 'annex'].flatMap((site) =>
        [{}, { zone: 'vip' }, { zone: 'vip', 'a"b': "o'hara" }, { zone: '7' }, { bank: 'vip' }].map(
          (labels, index) => ({
            ...inventoryRow(`${kind}-${site}-${index}`, { class: DeviceClass.parse(kind), site: SiteName.parse(site) }),
            labels,
          }),
        ),
      ),
    );
    await store.importDevices(rows, second(0), event('device.import'));
    const [egm, annex] = [DeviceClass.parse('egm'), SiteName.parse('annex')];
    const selectors: readonly Selector[] = [
      {},
      { class: [egm] },
      { class: [] },
      { site: [annex], labels: { zone: 'vip' } },
      { labels: { zone: '7' } },
      { class: [egm], labels: { zone: 'vip', 'a"b': "o'hara" } },
      { labels: { zone: 'vip', none: '' } },
    ];
    for (const [index, selector] of selectors.entries()) {
      const name = KeySetName.parse(`set-${index}`);
      await addKeySet(store, keySetChange({ name, selector }));
      const start = rotation(index + 1);
      await store.startRotation(name, second(10), () => ({
        ...start,
        rollout: { ...start.rollout, keySet: name },
        version: { ...start.version, keySet: name },
      }));
      const targets = await store.rolloutTargets(rolloutId(index + 1), {
        states: undefined,
        after: undefined,
        limit: 100,
      });
      const expected = rows.filter((row) => selects(selector, row)).map(({ id }) => id);
      expect(targets.map(({ device }) => device)).toEqual(expected.sort());
    }
  });

  it('given targets in every situation, when progress is counted, then each count is its own', async () => {
    const { store } = current();
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const service = DeviceClass.parse('service');
    await store.importDevices(
      ids.map((id) => inventoryRow(id, id === 'f' || id === 'g' ? { class: service } : {})),
      second(0),
      event('device.import'),
    );
    await addKeySet(store);
    for (const id of ids)
      await recordReport(
        store,
        await enrol(store, id),
        1,
        // b has proved to be beyond the old version; d may have begun to use it since its report.
        accepted({
          proofs: id === 'b' ? [proof(1, 'stored'), proof(2, 'active')] : [proof(1, id === 'd' ? 'stored' : 'active')],
        }),
      );
    await store.startRotation(WALLET, second(10), () => rotation(1));
    await connect(store, 'a', 'b', 'g');
    const states = {
      a: 'offered',
      b: 'stored',
      c: 'offered',
      d: 'stalled',
      e: 'active',
      f: 'stored',
      g: 'refused',
    } as const;
    for (const [id, state] of Object.entries(states)) {
      const certificate = (await store.device(deviceId(id)))?.certificates[0];
      if (certificate === undefined) throw new Error('the test has not enrolled the device');
      await recordReport(store, certificate, 2, accepted({ targets: [targetMove(1, state)] }));
    }
    await store.decideDevice(deviceId('c'), second(20), () => quarantine);
    const progress = (await store.rollout(rolloutId(1)))?.progress;
    expect(progress).toEqual({
      byState: { offered: 1, stored: 2, stalled: 1, active: 1, refused: 1, quarantined: 1 },
      total: 7,
      reachableUnstored: 1,
      servicesUnstored: 1,
      offlineBehind: 1,
      oldInUse: 5,
      oldHeld: 6,
    });
    await store.advanceRollout(rolloutId(1), second(30), (_, __, seen) => {
      expect(seen).toEqual(progress);
      return advance('active');
    });
    expect((await store.rollout(rolloutId(1)))?.progress.offlineBehind).toBe(2);
  });

  it('given a rollout, when it goes all the way, then times, states and revisions follow, and it ends once', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await store.startRotation(WALLET, second(10), () => rotation(1));
    const move = (at: number, outcome: Advance) => store.advanceRollout(rolloutId(1), second(at), () => outcome);
    await move(20, advance('ready'));
    expect((await store.keySet(WALLET))?.revision).toBe(2);
    await move(
      30,
      advance('active', [
        { version: version(2), state: 'active', retired: false, erase: false },
        { version: version(1), state: 'deactivated', retired: false, erase: false },
      ]),
    );
    await move(40, advance('retired', [{ version: version(1), state: 'deactivated', retired: true, erase: false }]));
    await move(50, advance('destroying', [{ version: version(1), state: 'destroyed', retired: true, erase: true }]));
    await move(60, advance('destroyed', [], true));
    const keySet = await store.keySet(WALLET);
    expect(keySet?.revision).toBe(5);
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
    const rollout = (await store.rollout(rolloutId(1)))?.rollout;
    expect(rollout).toMatchObject({
      state: 'destroyed',
      activatedAt: second(30),
      retiredAt: second(40),
      finishedAt: second(60),
    });
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

  it('given an activation, when it is decided, then the devices that the selector names become due', async () => {
    const { store } = current();
    await store.importDevices(
      [inventoryRow('egm-1'), inventoryRow('kiosk-1', { class: DeviceClass.parse('kiosk') })],
      second(0),
      event('device.import'),
    );
    await addKeySet(store, keySetChange({ selector: { class: [DeviceClass.parse('egm')] } }));
    await connect(store, 'egm-1', 'kiosk-1');
    await store.startRotation(WALLET, second(10), () => rotation(1));
    const idle = { kind: 'settle', dueAt: undefined, attempts: 0, targets: [] } as const;
    await store.takeDue(10, second(10), () => idle);
    await store.advanceRollout(rolloutId(1), second(20), () => advance('ready'));
    expect(await store.nextDue()).toBeUndefined();
    await store.advanceRollout(rolloutId(1), second(30), () =>
      advance('active', [{ version: version(2), state: 'active', retired: false, erase: false }]),
    );
    const due = await Promise.all(
      ['egm-1', 'kiosk-1'].map(async (id) => (await store.device(deviceId(id)))?.sync.dueAt),
    );
    expect(due).toEqual([second(30), undefined]);
  });

  it('given a rollout that stays or refuses, when it is decided on, then it does not move', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await store.startRotation(WALLET, second(10), () => rotation(1));
    const before = await store.rollout(rolloutId(1));
    await store.advanceRollout(rolloutId(1), second(20), () => ({ kind: 'stay' }));
    expect(await lastAudited(store)).toBe('keyset.rotate');
    await store.advanceRollout(rolloutId(1), second(20), () => refusal('rollout.state-refused'));
    expect(await lastAudited(store)).toBe('test.refuse');
    const unknown = advance('active', [{ version: version(9), state: 'active', retired: false, erase: false }]);
    await expectRefusal('keyset.version-not-found', () =>
      store.advanceRollout(rolloutId(1), second(20), () => unknown),
    );
    expect(await store.rollout(rolloutId(1))).toEqual(before);
    expect((await store.keySet(WALLET))?.revision).toBe(2);
  });

  it('given many targets, when they are paged and filtered, then pages follow each other', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b', 'c', 'd');
    await addKeySet(store);
    await connect(store, 'c');
    await store.startRotation(WALLET, second(10), () =>
      rotation(1, 1, { target: ({ id }) => ({ wave: 0, state: id === 'b' ? 'exempt' : 'pending' }) }),
    );
    const page = async (filter: Partial<Parameters<typeof store.rolloutTargets>[1]>) =>
      (await store.rolloutTargets(rolloutId(1), { states: undefined, after: undefined, limit: 2, ...filter })).map(
        ({ device, connected }) => [device, connected],
      );
    expect(await page({})).toEqual([
      ['a', false],
      ['b', false],
    ]);
    expect(await page({ after: 'b' })).toEqual([
      ['c', true],
      ['d', false],
    ]);
    expect(await page({ states: ['pending'] })).toEqual([
      ['a', false],
      ['c', true],
    ]);
    expect(await page({ states: ['exempt', 'active'], after: 'a' })).toEqual([['b', false]]);
  });
}
