import { expect, it } from 'vitest';
import { DeviceClass, SiteName } from '#schema/ids.ts';
import { selects, type Selector } from '#schema/rollout-plan.ts';
import type { HistoryOf, TargetFilter } from '#gateway/ports/store/rollouts.ts';
import {
  accepted,
  addKeySet,
  approvalId,
  connect,
  deviceId,
  enrol,
  event,
  importDevices,
  intent,
  inventoryRow,
  issue,
  newTarget,
  recordReport,
  refusal,
  rolloutId,
  rolloutStart,
  rotation,
  second,
  startRotation,
  targetMove,
  targetSteps,
  trustRollout,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { lastAudited, type CurrentStore } from './store-under-test.ts';

const quarantine = {
  kind: 'change',
  state: { kind: 'quarantined', code: 'report.forked' },
  revokeCertificates: undefined,
  resetHistory: false,
  audit: [],
} as const;
const release = { ...quarantine, state: { kind: 'enrolled' } } as const;
const revoke = { ...quarantine, state: { kind: 'revoked' } } as const;

export function targetsContract(current: CurrentStore): void {
  it('given selectors by class, site and labels, when devices are planned, then they are those that selects() names', async () => {
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
    for (const selector of selectors) {
      const expected = rows.filter((row) => selects(selector, row)).map(({ id }) => id);
      const found: string[] = [];
      for (let page = await store.planDevices(selector, '', 3); page.length > 0;) {
        found.push(...page.map(({ id }) => id));
        page = await store.planDevices(selector, found.at(-1) ?? '', 3);
      }
      expect(found).toEqual(expected.sort());
    }
  });

  it('given devices in every condition, when they are planned, then presence and the certificate in use are told', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b', 'c', 'd');
    const certificate = await enrol(store, 'a');
    await issue(store, intent('b'));
    await connect(store, 'a');
    await store.decideDevice(deviceId('c'), second(5), () => quarantine);
    await store.decideDevice(deviceId('d'), second(5), () => revoke);
    const { issuer, createdAt, notAfter } = certificate;
    const common = { class: 'egm', site: 'main', labels: {} };
    const never = { connected: false, lastSeenAt: undefined, certificate: undefined };
    expect(await store.planDevices({}, '', 10)).toEqual([
      {
        id: 'a',
        ...common,
        state: { kind: 'enrolled' },
        connected: true,
        lastSeenAt: second(2),
        certificate: { issuer, createdAt, notAfter },
      },
      { id: 'b', ...common, state: { kind: 'enrolled' }, ...never },
      { id: 'c', ...common, state: { kind: 'quarantined', code: 'report.forked' }, ...never },
    ]);
  });

  it('given targets, when they are added twice, then they stay as they were; contained devices are not begun with', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b', 'c', 'd');
    await connect(store, 'b');
    const rollout = trustRollout();
    await store.startRollout(undefined, second(10), () => rolloutStart(rollout));
    await store.decideDevice(deviceId('c'), second(11), () => quarantine);
    await store.decideDevice(deviceId('d'), second(11), () => revoke);
    const targets = ['a', 'b', 'c', 'd', 'unknown'].map((id, position) => newTarget(id, { wave: 2, position }));
    await store.addTargets(rollout.id, targets, second(12));
    const added = await store.rolloutTargets(rollout.id, { limit: 10 });
    const common = { rollout: rollout.id, wave: 2, service: false, reason: undefined, deferredUntil: undefined };
    const rest = { offeredAt: undefined, attempts: 0, changedAt: second(12), old: 'gone', signedOff: undefined };
    const away = { connected: false, lastSeenAt: undefined };
    expect(added).toEqual([
      { ...common, device: 'a', position: 0, state: 'pending', code: undefined, ...rest, ...away },
      {
        ...common,
        device: 'b',
        position: 1,
        state: 'pending',
        code: undefined,
        ...rest,
        connected: true,
        lastSeenAt: second(2),
      },
      { ...common, device: 'c', position: 2, state: 'quarantined', code: 'report.forked', ...rest, ...away },
    ]);
    await store.addTargets(rollout.id, [newTarget('a', { wave: 5, service: true, state: 'exempt' })], second(13));
    expect(await store.rolloutTargets(rollout.id, { limit: 10 })).toEqual(added);
  });

  it('given many targets, when they are paged and filtered, then pages follow each other', async () => {
    const { store } = current();
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    await importDevices(store, ...ids);
    const certificates = await Promise.all(ids.map((id) => enrol(store, id)));
    await addKeySet(store);
    await store.recordUpdates(
      ['e', 'f'].map((id) => ({
        device: deviceId(id),
        seq: 1,
        sha256: certificates[0]?.csrSha256 ?? intent('a').csrSha256,
        issuedAt: second(1),
        offered: [{ keySet: WALLET, version: rotation(1).version?.version ?? (1 as never), kcv: '00' }],
      })),
    );
    await connect(store, 'c');
    await startRotation(store, rotation(1), (id) => ({
      state: id === 'b' ? 'exempt' : 'pending',
      wave: id === 'd' ? 1 : 0,
      service: id === 'e',
    }));
    const [, , , , , last] = certificates;
    if (last === undefined) throw new Error('the test has not enrolled the device');
    const deferred = targetMove(1, 'stored', { code: 'device.busy', deferredUntil: second(900) });
    await recordReport(store, last, 1, accepted({ targets: [deferred] }));
    const page = async (filter: Partial<TargetFilter>) =>
      (await store.rolloutTargets(rolloutId(1), { limit: 10, ...filter })).map(({ device }) => device);
    expect(await page({ limit: 2 })).toEqual(['a', 'b']);
    expect(await page({ limit: 2, after: 'b' })).toEqual(['c', 'd']);
    expect(await page({ limit: 9, after: 'd' })).toEqual(['e', 'f']);
    expect(await page({ states: ['pending'], limit: 2 })).toEqual(['a', 'c']);
    expect(await page({ states: ['stored', 'exempt', 'active'] })).toEqual(['b', 'f']);
    expect(await page({ states: ['stored', 'exempt'], after: 'b' })).toEqual(['f']);
    expect(await page({ states: [] })).toEqual([]);
    expect(await page({ wave: 1 })).toEqual(['d']);
    expect(await page({ online: true })).toEqual(['c']);
    expect(await page({ online: false, states: ['pending'] })).toEqual(['a', 'd', 'e']);
    expect(await page({ service: true })).toEqual(['e']);
    expect(await page({ deferred: true })).toEqual(['f']);
    expect(await page({ deferred: false, limit: 1 })).toEqual(['a']);
    expect(await page({ old: ['gone'] })).toEqual(ids);
    expect(await page({ old: ['in-use', 'held'] })).toEqual([]);
    expect(await page({ wave: 7 })).toEqual([]);
  });

  it('given targets, when a person changes some, then they stand as told, are due, and the rest is not touched', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b', 'c');
    const certificate = await enrol(store, 'a');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    const stalled = targetMove(1, 'stalled', { code: 'device.silent', offeredAt: second(11), attempts: 4 });
    await recordReport(store, certificate, 1, accepted({ targets: [{ ...stalled, changedAt: second(12) }] }));
    await connect(store, 'a', 'b', 'c');
    await store.takeDue(10, second(500), () => ({ kind: 'settle', dueAt: undefined, attempts: 0, targets: [] }));
    const retry = { state: 'pending', code: undefined, reason: undefined, signedOff: undefined } as const;
    const outcome = await store.changeTargets(
      rolloutId(1),
      second(600),
      { states: ['stalled', 'refused'] },
      (rollout, targets) => {
        expect([rollout?.id, targets.map(({ device }) => device)]).toEqual([rolloutId(1), ['a']]);
        return {
          kind: 'change',
          targets: targets.map(({ device }) => ({ device, ...retry })),
          audit: [event('rollout.retry')],
        };
      },
    );
    expect(outcome.kind).toBe('change');
    expect(await lastAudited(store)).toBe('rollout.retry');
    const targets = await store.rolloutTargets(rolloutId(1), { limit: 10 });
    expect(targets[0]).toMatchObject({
      state: 'pending',
      code: undefined,
      offeredAt: undefined,
      attempts: 0,
      changedAt: second(600),
    });
    expect((await store.device(deviceId('a')))?.sync.dueAt).toEqual(second(600));
    expect((await store.device(deviceId('b')))?.sync.dueAt).toBeUndefined();
  });

  it('given a target, when it is exempted and another signed off, then reason, approval and times are kept', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    const devices = ['b', 'unknown', 'a', 'b'].map(deviceId);
    await store.changeTargets(rolloutId(1), second(20), { devices }, (_, targets) => {
      expect(targets.map(({ device }) => device)).toEqual(['a', 'b']);
      return {
        kind: 'change',
        targets: [
          { device: deviceId('a'), state: 'exempt', code: undefined, reason: 'sold', signedOff: undefined },
          { device: deviceId('b'), state: 'pending', code: 'device.lost', reason: undefined, signedOff: approvalId(1) },
          { device: deviceId('unknown'), state: 'exempt', code: undefined, reason: 'sold', signedOff: undefined },
        ],
        audit: [],
      };
    });
    expect(await store.rolloutTargets(rolloutId(1), { limit: 10 })).toMatchObject([
      { device: 'a', state: 'exempt', reason: 'sold', signedOff: undefined, changedAt: second(20) },
      {
        device: 'b',
        state: 'pending',
        code: 'device.lost',
        signedOff: approvalId(1),
        changedAt: second(10),
        old: 'waived',
      },
    ]);
    const before = await store.rollout(rolloutId(1));
    const refused = await store.changeTargets(rolloutId(1), second(30), { devices }, () =>
      refusal('rollout.state-refused'),
    );
    expect([refused.kind, await lastAudited(store)]).toEqual(['refuse', 'test.refuse']);
    expect(await store.rollout(rolloutId(1))).toEqual(before);
  });

  it('given what became of targets, when its history is read, then it is there step by step, by rollout and by device', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b');
    const certificate = await enrol(store, 'a');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    const trustWay = trustRollout({ id: rolloutId(2) });
    await store.startRollout(undefined, second(11), () => rolloutStart(trustWay));
    await store.addTargets(trustWay.id, [newTarget('a')], second(11));
    const stored = targetMove(1, 'stored', { code: 'device.busy', changedAt: second(101) });
    await recordReport(store, certificate, 1, accepted({ targets: [stored] }));
    await recordReport(store, certificate, 2, accepted({ targets: [{ ...stored, deferredUntil: second(300) }] }));
    await recordReport(
      store,
      certificate,
      3,
      accepted({ targets: [{ ...stored, code: undefined, changedAt: second(103) }] }),
    );
    await store.decideDevice(deviceId('a'), second(200), () => quarantine);
    await store.decideDevice(deviceId('a'), second(210), () => release);
    const read = async (of: HistoryOf, after = 0, limit = 100) =>
      (await targetSteps(store, of, after, limit)).map(({ device, at, from, to, code, word }) => {
        expect(word, 'nobody said so').toBeUndefined();
        return [device, at, from, to, code];
      });
    const begun = ['a', second(10), undefined, 'pending', undefined];
    const mine = [
      ['a', second(101), 'pending', 'stored', 'device.busy'],
      ['a', second(103), 'stored', 'stored', undefined],
      ['a', second(200), 'stored', 'quarantined', 'report.forked'],
      ['a', second(210), 'quarantined', 'pending', undefined],
    ];
    expect(await read({ rollout: rolloutId(1), device: deviceId('a') })).toEqual([begun, ...mine]);
    expect(await read({ rollout: rolloutId(1), steps: 'all' })).toEqual([begun, ['b', ...begun.slice(1)], ...mine]);
    const other = [
      ['a', second(11), undefined, 'pending', undefined],
      ['a', second(200), 'pending', 'quarantined', 'report.forked'],
      ['a', second(210), 'quarantined', 'pending', undefined],
    ];
    expect(await read({ rollout: rolloutId(2), steps: 'all' })).toEqual(other);
    expect(await read({ device: deviceId('a') })).toHaveLength(1 + mine.length + other.length);
    const [first] = await store.history({ rollout: rolloutId(1), steps: 'all' }, 0, 1);
    expect(await read({ rollout: rolloutId(1), steps: 'all' }, first?.id, 2)).toEqual([
      ['b', ...begun.slice(1)],
      mine[0],
    ]);
  });
}
