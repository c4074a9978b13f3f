/** One history of each rollout: what became of it and of its targets, in order, and on whose word. */
import { expect, it } from 'vitest';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { HistoryOf } from '#gateway/ports/store/rollouts.ts';
import { rolloutEvent } from '#gateway/rollout/decide.ts';
import {
  decideExempt,
  decidePause,
  decideResume,
  decideRetry,
  decideSignOff,
  type Word,
} from '#gateway/rollout/decide-operator.ts';
import {
  accepted,
  addKeySet,
  approvalId,
  deviceId,
  enrol,
  importDevices,
  moveRollout,
  newTarget,
  recordReport,
  rolloutId,
  rolloutStart,
  rotation,
  second,
  sha256,
  startRotation,
  targetMove,
  targetSteps,
  trustRollout,
} from '#test/support/store-fixtures.ts';
import { UNWRITABLE, type CurrentStore } from './store-under-test.ts';

const GRACE: AuditActor = { type: 'operator', id: 'grace' };
const APPROVED = { id: approvalId(1), hash: sha256('asked'), approvers: ['hedy'] };
const FIRST = rolloutId(1);

const word = (at: number, approval?: AuditEvent['approval']): Word => ({ actor: GRACE, approval, now: second(at) });

/** A rotation to `a` and `b`, started by grace with an approval. */
async function started(store: Store) {
  await importDevices(store, 'a', 'b');
  const certificate = await enrol(store, 'a');
  await addKeySet(store);
  const start = rotation(1);
  const details = { from: 1, to: 2, rollout: FIRST, plan: 'default', reason: 'quarterly' };
  const event: AuditEvent = {
    action: 'keyset.rotate',
    outcome: 'success',
    actor: GRACE,
    object: { type: 'keyset', id: 'wallet-kek' },
    approval: APPROVED,
    details,
  };
  const rollout = await startRotation(store, { ...start, audit: [event] });
  return { rollout, certificate };
}

function known(rollout: RolloutRecord | undefined): RolloutRecord {
  if (rollout === undefined) throw new Error('the rollout is not there');
  return rollout;
}

const ownSteps = async (store: Store, after = 0, limit = 100) =>
  (await store.history({ rollout: FIRST, steps: 'rollout' }, after, limit)).flatMap((step) =>
    step.kind === 'rollout' ? [step] : [],
  );

/** Steps in words: `paused`, `a: pending`, `b: exempt (exempted by grace: sold)`. */
const inWords = async (store: Store, of: HistoryOf): Promise<readonly string[]> =>
  (await store.history(of, 0, 100)).map((step) => {
    if (step.kind === 'rollout') return step.step;
    const { device, to, word: said } = step;
    return `${device}: ${to}${said === undefined ? '' : ` (${said.step} by ${said.by}: ${said.reason ?? '-'})`}`;
  });

export function historyContract(current: CurrentStore): void {
  it('given a rollout that people moved, when its history is read, then each step says when, who, with whose approval and why', async () => {
    const { store } = current();
    await started(store);
    await store.advanceRollout(FIRST, second(20), (rollout) => decidePause(known(rollout), 'tournament', word(20)));
    await store.advanceRollout(FIRST, second(30), (rollout) =>
      decideResume(known(rollout), word(30, APPROVED), 'over'),
    );
    const [begun, paused, resumed, ...more] = await ownSteps(store);
    const approved = { approval: approvalId(1), approvedBy: ['hedy'] };
    const alone = { approval: undefined, approvedBy: [] };
    expect(begun).toEqual({
      kind: 'rollout',
      id: begun?.id,
      rollout: FIRST,
      at: second(10),
      code: undefined,
      step: 'started',
      word: { by: 'grace', ...approved, reason: 'quarterly' },
      details: { from: 1, to: 2, plan: 'default' },
    });
    expect(paused).toMatchObject({ step: 'paused', at: second(20), word: { ...alone, reason: 'tournament' } });
    expect(resumed).toMatchObject({
      step: 'resumed',
      at: second(30),
      word: { by: 'grace', ...approved, reason: 'over' },
      details: { pausedBy: 'grace', code: 'rollout.halted' },
    });
    expect(more).toEqual([]);
    expect(await ownSteps(store, begun?.id, 1)).toEqual([paused]);
    expect(await ownSteps(store, resumed?.id)).toEqual([]);
  });

  it('given what was refused, when the history is read, then it is not there', async () => {
    const { store } = current();
    await started(store);
    const before = await ownSteps(store);
    const refused = await store.advanceRollout(FIRST, second(20), (rollout) => decideResume(known(rollout), word(20)));
    expect(refused.kind).toBe('refuse');
    expect(await ownSteps(store)).toEqual(before);
  });

  it('given an audit record that cannot be written, when a rollout moves, then neither it nor its history does', async () => {
    const { store } = current();
    const { rollout } = await started(store);
    const before = await store.history({ rollout: FIRST, steps: 'all' }, 0, 100);
    const step = rolloutEvent(rollout, 'rollout.ready', GRACE, {});
    await expectRefusal('internal.unexpected', () =>
      moveRollout(store, rollout, 20, { state: 'ready' }, { audit: [step, UNWRITABLE] }),
    );
    expect(await store.history({ rollout: FIRST, steps: 'all' }, 0, 100)).toEqual(before);
    await moveRollout(store, rollout, 20, { state: 'ready' }, { audit: [step] });
    expect(await store.history({ rollout: FIRST, steps: 'all' }, 0, 100)).toHaveLength(before.length + 1);
  });

  it('given targets that people retried, exempted and signed off, then the steps of each device say who and why', async () => {
    const { store } = current();
    const { rollout, certificate } = await started(store);
    const failed = targetMove(1, 'refused', { code: 'cms.malformed', changedAt: second(12) });
    await recordReport(store, certificate, 1, accepted({ targets: [failed] }));
    await store.changeTargets(FIRST, second(20), { states: ['refused'] }, (found, targets) =>
      decideRetry(known(found), [], targets, word(20)),
    );
    const b = { devices: [deviceId('b')] };
    for (const [at, reason] of [
      [30, 'sold'],
      [31, 'scrapped'],
    ] as const) {
      await store.changeTargets(FIRST, second(at), b, (found, targets) =>
        decideExempt(known(found), b.devices, targets, reason, word(at)),
      );
    }
    await moveRollout(store, rollout, 40, { state: 'active', activatedAt: second(40) }, { audit: [] });
    const a = { devices: [deviceId('a')] };
    await store.changeTargets(FIRST, second(50), a, (found, targets) =>
      decideSignOff(known(found), a.devices, targets, 'lost at sea', approvalId(1), word(50, APPROVED)),
    );

    const ofA = ['a: pending', 'a: refused', 'a: pending (retried by grace: -)'];
    const signedOff = 'a: pending (signed-off by grace: lost at sea)';
    const ofB = ['b: exempt (exempted by grace: sold)', 'b: exempt (exempted by grace: scrapped)'];
    expect(await inWords(store, { device: deviceId('a') })).toEqual([...ofA, signedOff]);
    expect(await inWords(store, { rollout: FIRST, device: deviceId('b') })).toEqual(['b: pending', ...ofB]);
    expect(await inWords(store, { rollout: FIRST, steps: 'rollout' })).toEqual([
      'started',
      'retried',
      'exempted',
      'exempted',
      'signed-off',
    ]);
    const [pendingA, refusedA, retriedA] = ofA;
    expect(await inWords(store, { rollout: FIRST, steps: 'all' })).toEqual([
      'started',
      pendingA,
      'b: pending',
      refusedA,
      retriedA,
      'retried',
      ofB[0],
      'exempted',
      ofB[1],
      'exempted',
      signedOff,
      'signed-off',
    ]);
    const last = (await targetSteps(store, { device: deviceId('a') })).at(-1);
    expect(last).toMatchObject({
      at: second(50),
      from: 'pending',
      word: { approval: approvalId(1), approvedBy: ['hedy'] },
    });
  });

  it('given a word on one rollout, when the history of another one of the device is read, then it is not there', async () => {
    const { store } = current();
    await started(store);
    const other = trustRollout({ id: rolloutId(2) });
    await store.startRollout(undefined, second(11), () => rolloutStart(other));
    await store.addTargets(other.id, [newTarget('a')], second(11));
    const a = [deviceId('a')];
    await store.changeTargets(FIRST, second(20), { devices: a }, (rollout, targets) =>
      decideExempt(known(rollout), a, targets, 'sold', word(20)),
    );
    expect(await inWords(store, { rollout: other.id, steps: 'all' })).toEqual(['a: pending']);
    expect(await inWords(store, { device: deviceId('a') })).toEqual([
      'a: pending',
      'a: pending',
      'a: exempt (exempted by grace: sold)',
    ]);
  });
}
