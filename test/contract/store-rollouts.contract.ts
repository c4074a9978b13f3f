import { expect, it } from 'vitest';
import { Selector } from '#schema/rollout-plan.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import {
  addKeySet,
  connect,
  deviceId,
  event,
  importDevices,
  keySetChange,
  moveRollout,
  newTarget,
  PLAN,
  reEnrolment,
  refusal,
  rolloutAdvance,
  rolloutId,
  rolloutRecord,
  rolloutStart,
  rotation,
  second,
  sha256,
  startRotation,
  trust,
  trustBundle,
  trustRollout,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

const dueOf = async (store: Store, ...ids: readonly string[]) =>
  Promise.all(ids.map(async (id) => (await store.device(deviceId(id)))?.sync.dueAt));

/** Nobody is due any more. */
const settleAll = async (store: Store): Promise<void> => {
  await store.takeDue(1_000, second(1_000), () => ({ kind: 'settle', dueAt: undefined, attempts: 0, targets: [] }));
};

export function rolloutsContract(current: CurrentStore): void {
  it('given a key set, when a rotation starts, then version and rollout are there at once and nobody is due', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await connect(store, 'egm-1');
    await settleAll(store);
    const start = rotation(1);
    const outcome = await store.startRollout(WALLET, second(10), ({ keySet, open, trustLatest }) => {
      expect([keySet?.revision, keySet?.versions.map(({ state }) => state), open]).toEqual([
        second(0).getTime(),
        ['active'],
        [],
      ]);
      expect(trustLatest).toBe(0);
      return start;
    });
    expect(outcome).toBe(start);
    const keySet = await store.keySet(WALLET);
    expect([keySet?.revision, keySet?.versions.at(-1)]).toEqual([second(10).getTime(), start.version]);
    expect(await store.rollout(rolloutId(1))).toEqual({ rollout: start.rollout, tallies: [] });
    expect(await dueOf(store, 'egm-1')).toEqual([undefined]);
    expect(await lastAudited(store)).toBe('rollout.start');
  });

  it('given rollouts of each kind in any state, when they are read, then they are what was written', async () => {
    const { store } = current();
    await addKeySet(store);
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    const pause = { at: second(5), by: 'kim', code: 'rollout.halted', reason: 'a table is down' } as const;
    const campaign = {
      reason: 'compromise',
      selector: Selector.parse({ class: ['egm'], labels: { zone: 'vip' } }),
      issuer: undefined,
      before: second(9),
    } as const;
    const written: readonly RolloutRecord[] = [
      rolloutRecord({ id: rolloutId(1), state: 'ready', pause, waveSettledAt: second(3), stragglersAt: second(4) }),
      trustRollout({ id: rolloutId(2), state: 'active', activatedAt: second(7), createdAt: second(11) }),
      reEnrolment({ id: rolloutId(3), campaign, createdAt: second(12) }),
      reEnrolment({ id: rolloutId(4), plan: { ...PLAN, rate: { targets: 5, perMs: 1_000 } }, createdAt: second(13) }),
    ];
    for (const rollout of written) await store.startRollout(WALLET, second(10), () => rolloutStart(rollout));
    expect(await store.rollouts(true, 10)).toEqual(written.toReversed());
    await store.startRollout(undefined, second(20), ({ open, keySet, trustLatest }) => {
      expect([open, keySet, trustLatest]).toEqual([written, undefined, 1]);
      return refusal('rollout.under-way');
    });
    const ended = { state: 'completed', pause: undefined, finishedAt: second(30), waveOpenedAt: second(8) } as const;
    const after = await moveRollout(store, written[0] ?? rolloutRecord(), 30, ended);
    expect((await store.rollout(rolloutId(1)))?.rollout).toEqual(after);
    expect(await store.rollouts(undefined, 2)).toEqual([written[3], written[2]]);
  });

  it('given a trust bundle, when a rollout starts with the next link, then it is appended; a fork is refused whole', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await store.appendTrustBundle(trustBundle(1, null), second(1), event('trust.publish'));
    await connect(store, 'egm-1');
    await settleAll(store);
    const rollout = trustRollout({ state: 'approved' });
    await expectRefusal('trust.link-forked', () =>
      store.startRollout(undefined, second(10), () =>
        rolloutStart(rollout, { bundle: trustBundle(2, sha256('another history')) }),
      ),
    );
    expect(await store.rollouts(undefined, 10)).toEqual([]);
    const bundle = trustBundle(2, sha256('bundle 1'));
    await store.startRollout(undefined, second(10), () => rolloutStart(rollout, { bundle }));
    expect(await store.trustBundle(trust(2))).toEqual(bundle);
    expect(await dueOf(store, 'egm-1')).toEqual([undefined]);
  });

  it('given a rollout under way, when a newer one starts, then the older one ends in the same step', async () => {
    const { store } = current();
    await addKeySet(store);
    const older = await startRotation(store, rotation(1));
    const superseded = { ...older, state: 'superseded', finishedAt: second(20) } as const;
    const newer = rotation(2, 2, { createdAt: second(20) });
    await store.startRollout(WALLET, second(20), ({ open }) => {
      expect(open).toEqual([older]);
      return { ...newer, others: [superseded] };
    });
    expect((await store.rollout(rolloutId(1)))?.rollout).toEqual(superseded);
    expect((await store.rollouts(true, 10)).map(({ id }) => id)).toEqual([rolloutId(2)]);
  });

  it('given a start that is refused or cannot be audited, when it is asked for, then there is no version and no rollout', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await store.startRollout(WALLET, second(10), () => refusal('keyset.rotation-under-way'));
    await expectRefusal('internal.unexpected', () =>
      store.startRollout(WALLET, second(10), () => ({ ...rotation(1), audit: [UNWRITABLE] })),
    );
    expect((await store.keySet(WALLET))?.versions).toHaveLength(1);
    expect(await store.rollouts(undefined, 10)).toEqual([]);
    expect(await auditedActions(store)).toEqual(['device.import', 'policy.apply', 'test.refuse']);
  });

  it('given no such key set or rollout, when they are decided on, then the decision sees none and cannot start or move one', async () => {
    const { store } = current();
    await expectRefusal('keyset.not-found', () => store.startRollout(WALLET, second(1), () => rotation(1)));
    await expectRefusal('rollout.not-found', () =>
      store.advanceRollout(rolloutId(1), second(1), (rollout, keySet, tallies) => {
        expect([rollout, keySet, tallies]).toEqual([undefined, undefined, []]);
        return rolloutAdvance(rolloutRecord());
      }),
    );
    await expectRefusal('rollout.not-found', () =>
      store.changeTargets(rolloutId(1), second(1), { states: ['pending'] }, (rollout, targets) => {
        expect([rollout, targets]).toEqual([undefined, []]);
        return { kind: 'change', targets: [], audit: [] };
      }),
    );
    await expectRefusal('rollout.not-found', () => store.addTargets(rolloutId(1), [newTarget('egm-1')], second(1)));
    expect(await store.rollout(rolloutId(1))).toBeUndefined();
    expect(await auditedActions(store)).toEqual([]);
  });

  it('given a rollout that stays or refuses, when it is decided on, then it does not move', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    await addKeySet(store);
    await startRotation(store, rotation(1));
    const before = await store.rollout(rolloutId(1));
    await store.advanceRollout(rolloutId(1), second(20), (rollout, keySet, tallies) => {
      expect([{ rollout, tallies }, keySet]).toEqual([before, keySet]);
      return { kind: 'stay', until: second(30) };
    });
    expect(await lastAudited(store)).toBe('rollout.distributing');
    await store.advanceRollout(rolloutId(1), second(20), () => refusal('rollout.state-refused'));
    expect(await lastAudited(store)).toBe('test.refuse');
    expect(await store.rollout(rolloutId(1))).toEqual(before);
  });

  it('given waves, when one is opened, then its targets and those before that have not answered become due, no others', async () => {
    const { store } = current();
    const ids = ['a', 'b', 'c', 'd', 'e'];
    await importDevices(store, ...ids);
    await addKeySet(store);
    await connect(store, ...ids);
    const waves = { a: 0, b: 0, c: 1, d: 1, e: 2 } as const;
    const rollout = await startRotation(store, rotation(1), (id) => ({
      wave: Object.entries(waves).find(([name]) => name === id)?.[1] ?? 0,
      state: id === 'd' ? 'stored' : id === 'b' ? 'offered' : 'pending',
    }));
    await settleAll(store);
    const opened = { wave: 1, waveOpenedAt: second(20) };
    const next = await moveRollout(store, rollout, 20, opened, { due: 'unanswered' });
    expect(await dueOf(store, ...ids)).toEqual([second(20), second(20), second(20), undefined, undefined]);
    await settleAll(store);
    await moveRollout(store, next, 25, { pause: undefined });
    expect(await dueOf(store, ...ids)).toEqual([undefined, undefined, undefined, undefined, undefined]);
  });

  it('given a rate, when a wave is opened, then its targets become due one after the other, and those before and those asked already at once', async () => {
    const { store } = current();
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    await importDevices(store, ...ids);
    await addKeySet(store);
    await connect(store, ...ids);
    const plan = { ...PLAN, rate: { targets: 2, perMs: 60_000 } };
    const rollout = await startRotation(store, rotation(1, 1, { plan }), (id) =>
      id === 'a'
        ? { position: 9 }
        : { wave: 1, position: ids.indexOf(id) - 1, state: id === 'e' ? 'offered' : 'pending' },
    );
    await settleAll(store);
    await store.markDue([deviceId('f')], second(21));
    const opened = await moveRollout(store, rollout, 20, { wave: 1, waveOpenedAt: second(20) }, { due: 'unanswered' });
    expect(await dueOf(store, ...ids)).toEqual([
      second(20),
      second(20),
      second(20),
      second(80),
      second(20),
      second(21),
    ]);
    await settleAll(store);
    await moveRollout(store, opened, 100, { pause: undefined }, { due: 'unanswered' });
    expect(await dueOf(store, ...ids)).toEqual([
      second(100),
      second(100),
      second(100),
      second(100),
      second(100),
      second(140),
    ]);
  });

  it('given a step that concerns all, when it is decided, then every target that is not done becomes due', async () => {
    const { store } = current();
    const states = ['pending', 'offered', 'stored', 'overdue', 'refused', 'stalled'] as const;
    const done = ['active', 'old-retired', 'old-destroyed', 'exempt', 'superseded', 'quarantined'] as const;
    await importDevices(store, ...states, ...done, 'outside');
    await connect(store, ...states, ...done, 'outside');
    const rollout = trustRollout();
    await store.startRollout(undefined, second(10), () => rolloutStart(rollout));
    const targets = [...states, ...done].map((state) => newTarget(state, { state }));
    await store.addTargets(rollout.id, targets, second(10));
    await settleAll(store);
    await moveRollout(store, rollout, 20, { state: 'active' }, { due: 'all' });
    expect(await dueOf(store, ...states)).toEqual(states.map(() => second(20)));
    expect(await dueOf(store, ...done, 'outside')).toEqual([...done, 'outside'].map(() => undefined));
  });

  it('given contained devices, when targets become due, then they do not', async () => {
    const { store } = current();
    await importDevices(store, 'a', 'b');
    await addKeySet(store, keySetChange());
    const rollout = await startRotation(store, rotation(1));
    await store.decideDevice(deviceId('a'), second(15), () => ({
      kind: 'change',
      state: { kind: 'quarantined', code: 'report.forked' },
      revokeCertificates: undefined,
      resetHistory: false,
      audit: [],
    }));
    await connect(store, 'a', 'b');
    await settleAll(store);
    await moveRollout(store, rollout, 20, {}, { due: 'unanswered' });
    expect(await dueOf(store, 'a', 'b')).toEqual([undefined, second(20)]);
  });
}
