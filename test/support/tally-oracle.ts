/** What the counts of a rollout's targets must be, worked out the long way. */
import { expect } from 'vitest';
import type { OldVersionState, TargetTally } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TargetDetail } from '#gateway/ports/store/rollouts.ts';
import { rolloutId, WALLET } from './store-fixtures.ts';

const sorted = (tallies: readonly TargetTally[]): readonly string[] =>
  tallies.map((tally) => JSON.stringify(tally, Object.keys(tally).sort())).sort();

/** The tallies as they must be, counted one by one from the targets. */
function recount(targets: readonly TargetDetail[]): readonly TargetTally[] {
  const groups = Map.groupBy(targets, ({ wave, service, state, connected, deferredUntil, old }) =>
    JSON.stringify([wave, service, state, connected, deferredUntil !== undefined, old]),
  );
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { wave, service, state, connected, deferredUntil, old } = first;
    return [
      { wave, service, state, online: connected, deferred: deferredUntil !== undefined, old, targets: group.length },
    ];
  });
}

const USABLE = ['offered', 'stored', 'active'];

/** What a target has of versions below `to`, by the records of its device. */
async function oldOf(store: Store, target: TargetDetail, to: number): Promise<OldVersionState> {
  if (target.signedOff !== undefined) return 'waived';
  const held = ((await store.device(target.device))?.versions ?? []).filter(({ keySet }) => keySet === WALLET);
  const isBeyond = held.some((entry) => entry.version >= to && entry.state === 'active');
  const old = held.filter((entry) => entry.version < to);
  if (!isBeyond && old.some(({ state }) => USABLE.includes(state))) return 'in-use';
  return old.some(({ state }) => [...USABLE, 'retired'].includes(state)) ? 'held' : 'gone';
}

/** Expects the counts of a rollout to version `to` to be those of its targets, and these to fit what their devices hold. */
export async function expectCounted(store: Store, number: number, to: number): Promise<void> {
  const targets = await store.rolloutTargets(rolloutId(number), { limit: 1_000 });
  expect(sorted((await store.rollout(rolloutId(number)))?.tallies ?? [])).toEqual(sorted(recount(targets)));
  for (const target of targets) expect(target.old, target.device).toBe(await oldOf(store, target, to));
}
