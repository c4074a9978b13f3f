import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Store } from '#gateway/ports/store/index.ts';
import {
  accepted,
  addKeySet,
  approvalId,
  deviceId,
  enrol,
  importDevices,
  moveRollout,
  proof,
  recordReport,
  rolloutId,
  rotation,
  second,
  sha256,
  startRotation,
  targetMove,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { expectCounted } from '#test/support/tally-oracle.ts';
import type { CurrentStore } from './store-under-test.ts';

const DEVICES = ['a', 'b', 'c', 'd'] as const;

type Step =
  | { readonly kind: 'move'; readonly device: string; readonly state: 'offered' | 'stored' | 'active' | 'refused' }
  | { readonly kind: 'defer'; readonly device: string }
  | {
      readonly kind: 'prove';
      readonly device: string;
      readonly version: number;
      readonly state: 'stored' | 'active' | 'retired' | 'destroyed';
    }
  | { readonly kind: 'offer'; readonly device: string; readonly version: number }
  | { readonly kind: 'presence'; readonly device: string; readonly connected: boolean }
  | { readonly kind: 'restart' }
  | { readonly kind: 'contain' | 'release' | 'reset' | 'sign-off' | 'exempt' | 'add'; readonly device: string };

const device = fc.constantFrom(...DEVICES);
const number = fc.integer({ min: 1, max: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('move' as const),
    device,
    state: fc.constantFrom('offered', 'stored', 'active', 'refused'),
  }),
  fc.record({ kind: fc.constant('defer' as const), device }),
  fc.record({
    kind: fc.constant('prove' as const),
    device,
    version: number,
    state: fc.constantFrom('stored', 'active', 'retired', 'destroyed'),
  }),
  fc.record({ kind: fc.constant('offer' as const), device, version: number }),
  fc.record({ kind: fc.constant('presence' as const), device, connected: fc.boolean() }),
  fc.record({ kind: fc.constant('restart' as const) }),
  fc.record({ kind: fc.constantFrom('contain', 'release', 'reset', 'sign-off', 'exempt', 'add'), device }),
);

async function take(store: Store, taken: Step, index: number): Promise<void> {
  const at = second(200 + index);
  const report = async (id: string, outcome: Parameters<typeof accepted>[0]): Promise<void> => {
    const certificate = (await store.device(deviceId(id)))?.certificates[0];
    if (certificate === undefined) throw new Error('the test has not enrolled the device');
    await recordReport(store, certificate, index + 1, accepted(outcome));
  };
  const contain = async (id: string, to: 'quarantined' | 'enrolled', resetHistory = false): Promise<void> => {
    const state = to === 'quarantined' ? ({ kind: to, code: 'report.forked' } as const) : ({ kind: to } as const);
    const change = { kind: 'change', state, revokeCertificates: undefined, resetHistory, audit: [] } as const;
    await store.decideDevice(deviceId(id), at, () => change);
  };
  const word = async (id: string, change: { state?: 'exempt'; signedOff?: boolean }): Promise<void> => {
    await store.changeTargets(rolloutId(1), at, { devices: [deviceId(id)] }, (_, targets) => ({
      kind: 'change',
      targets: targets.map((target) => ({
        device: target.device,
        state: change.state ?? target.state,
        code: target.code,
        reason: 'told',
        signedOff: change.signedOff === true ? approvalId(1) : target.signedOff,
      })),
      audit: [],
    }));
  };
  switch (taken.kind) {
    case 'move':
      return report(taken.device, { targets: [targetMove(1, taken.state, { changedAt: at })] });
    case 'defer':
      return report(taken.device, {
        targets: [targetMove(2, 'stored', { deferredUntil: at, wave: 1, service: true })],
      });
    case 'prove':
      return report(taken.device, { proofs: [proof(taken.version, taken.state)] });
    case 'offer':
      return store.recordUpdates([
        {
          device: deviceId(taken.device),
          seq: index + 1,
          sha256: sha256(`${index}`),
          issuedAt: at,
          offered: [{ keySet: WALLET, version: version(taken.version), kcv: '00' }],
        },
      ]);
    case 'presence': {
      const { connected } = taken;
      return store.setPresence([{ device: deviceId(taken.device), connected, address: undefined, at }]);
    }
    case 'restart':
      return store.clearPresence();
    case 'contain':
      return contain(taken.device, 'quarantined');
    case 'release':
      return contain(taken.device, 'enrolled');
    case 'reset':
      return contain(taken.device, 'enrolled', true);
    case 'sign-off':
      return word(taken.device, { signedOff: true });
    case 'exempt':
      return word(taken.device, { state: 'exempt' });
    case 'add':
      return store.addTargets(
        rolloutId(2),
        [{ device: deviceId(taken.device), wave: 0, position: 0, service: false, state: 'pending' }],
        at,
      );
  }
}

/** Two rotations of one key set under way, of which the later one has no targets yet. */
async function twoRotations(store: Store): Promise<void> {
  await importDevices(store, ...DEVICES);
  for (const id of DEVICES) await enrol(store, id);
  await addKeySet(store);
  await startRotation(store, rotation(1, 1));
  await startRotation(store, rotation(2, 2), () => undefined);
}

export function tallyContract(current: CurrentStore): void {
  it('given any history of targets, presence, proofs and words of people, when it is counted, then the counts are right', async () => {
    const under = current();
    await twoRotations(under.store);
    const [first] = (await under.store.rollouts(true, 10)).toReversed();
    if (first === undefined) throw new Error('the test has not started a rollout');
    let index = 0;
    // One history after the other over the same floor: each begins where the one before has left it.
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
        for (const taken of steps) await take(under.store, taken, (index += 1));
        await expectCounted(under.store, 1, 2);
        await expectCounted(under.store, 2, 3);
      }),
      { seed: 20_260_301, numRuns: 40, endOnFailure: true },
    );
  });

  it('given a target, when its device goes through the old versions, then each step tells what it has of them', async () => {
    const { store } = current();
    await importDevices(store, 'a');
    const certificate = await enrol(store, 'a');
    await addKeySet(store);
    await startRotation(store, rotation(1, 2));
    const old = async () => {
      await expectCounted(store, 1, 3);
      return (await store.rolloutTargets(rolloutId(1), { limit: 1 }))[0]?.old;
    };
    expect(await old()).toBe('gone');
    const offer = { device: deviceId('a'), seq: 1, sha256: sha256('u'), issuedAt: second(20) };
    await store.recordUpdates([{ ...offer, offered: [{ keySet: WALLET, version: version(2), kcv: '00' }] }]);
    expect(await old()).toBe('in-use');
    let counter = 0;
    const prove = async (...proofs: readonly ReturnType<typeof proof>[]) => {
      await recordReport(store, certificate, (counter += 1), accepted({ proofs }));
      return old();
    };
    expect(await prove(proof(2, 'stored'))).toBe('in-use');
    expect(await prove(proof(2, 'active'))).toBe('in-use');
    expect(await prove(proof(3, 'stored'))).toBe('in-use');
    expect(await prove(proof(3, 'active'))).toBe('held');
    expect(await prove(proof(2, 'retired'))).toBe('held');
    expect(await prove(proof(2, 'destroyed'))).toBe('gone');
    expect(await prove(proof(1, 'retired'))).toBe('held');
    expect(await prove(proof(1, 'destroyed'), proof(3, 'retired'), proof(4, 'active'))).toBe('gone');
    expect(await prove(proof(1, 'stored'))).toBe('held');
    expect(await prove(proof(4, 'retired'))).toBe('in-use');
    await store.changeTargets(rolloutId(1), second(30), { devices: [deviceId('a')] }, () => ({
      kind: 'change',
      targets: [
        { device: deviceId('a'), state: 'pending', code: undefined, reason: undefined, signedOff: approvalId(7) },
      ],
      audit: [],
    }));
    expect(await old()).toBe('waived');
    expect(await prove(proof(1, 'active'))).toBe('waived');
  });

  it('given a target made late, when its device holds old versions and is connected, then it is counted so from the first', async () => {
    const { store } = current();
    await importDevices(store, 'a');
    const certificate = await enrol(store, 'a');
    await addKeySet(store);
    await recordReport(store, certificate, 1, accepted({ proofs: [proof(1, 'active')] }));
    await store.setPresence([{ device: deviceId('a'), connected: true, address: undefined, at: second(3) }]);
    await startRotation(store, rotation(1), () => undefined);
    await recordReport(store, certificate, 2, accepted({ targets: [targetMove(1, 'stored')] }));
    const tally = {
      wave: 0,
      service: false,
      state: 'stored',
      online: true,
      deferred: false,
      old: 'in-use',
      targets: 1,
    };
    expect((await store.rollout(rolloutId(1)))?.tallies).toEqual([tally]);
  });

  it('given a rollout that has ended, when its devices go on, then its counts stay as they were at its end', async () => {
    const { store } = current();
    await importDevices(store, 'a');
    const certificate = await enrol(store, 'a');
    await addKeySet(store);
    await store.setPresence([{ device: deviceId('a'), connected: true, address: undefined, at: second(3) }]);
    const rollout = await startRotation(store, rotation(1));
    await moveRollout(store, rollout, 50, { state: 'aborted', finishedAt: second(50) });
    const before = await store.rollout(rolloutId(1));
    await recordReport(store, certificate, 1, accepted({ proofs: [proof(1, 'active')] }));
    await store.clearPresence();
    expect(await store.rollout(rolloutId(1))).toEqual(before);
    expect(before?.tallies.map(({ online, old }) => [online, old])).toEqual([[true, 'gone']]);
  });
}
