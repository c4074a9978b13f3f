/** A rollout as people look at it, with the devices that hold it back by name. */
import { HELD_BY, type RolloutView } from '#schema/api/views.ts';
import type { RolloutId } from '#schema/ids.ts';
import type { RolloutStore } from '#gateway/ports/store/rollouts.ts';
import { heldBy } from '#gateway/rollout/hold-targets.ts';
import { holdsAt, holdView, rolloutView } from './views/rollouts.ts';

/** Undefined when there is none. What it reads grows with what holds it back, not with its targets. */
export async function readRollout(
  store: Pick<RolloutStore, 'rollout' | 'rolloutTargets'>,
  id: RolloutId,
  now: Date,
): Promise<RolloutView | undefined> {
  const detail = await store.rollout(id);
  if (detail === undefined) return undefined;
  const holds = await Promise.all(
    holdsAt(detail, now).map(async (hold) => {
      const filter = heldBy(detail.rollout, hold.reason);
      const devices = filter === undefined ? [] : await store.rolloutTargets(id, { ...filter, limit: HELD_BY });
      return holdView(hold, devices);
    }),
  );
  return rolloutView(detail, holds);
}
