/** Waiting for what the gateway has recorded of a rollout. */
import { setTimeout as delay } from 'node:timers/promises';
import type { RolloutView, TargetStateName } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import type { RolloutId } from '#schema/ids.ts';
import type { Step } from '../../output/steps.ts';
import type { Realm } from '../realm.ts';

/** A rollout of which nothing has moved for so long has failed. */
const PATIENCE_MS = 90_000;
/** Often enough for a figure in tenths of a second, and far from the limit of requests. */
const POLL_MS = 100;

/** Targets of a rollout in these states. */
export const countOf = ({ progress }: Pick<RolloutView, 'progress'>, states: readonly TargetStateName[]): number =>
  states.reduce((sum, state) => sum + (progress.byState[state] ?? 0), 0);

export async function readRollout({ operators }: Realm, id: RolloutId): Promise<RolloutView> {
  return operators.as('key-admin').client.call('rollout.show', { params: { id } });
}

/**
 * Resolves when `isThere`; `done` is shown meanwhile. Errors: `network.timeout`, saying what holds it, when nothing has
 * moved for a while or the rollout is paused.
 */
export async function awaitRollout(
  realm: Realm,
  id: RolloutId,
  step: Step,
  { isThere, done }: { isThere: (view: RolloutView) => boolean; done: (view: RolloutView) => number },
): Promise<RolloutView> {
  let movedAt = performance.now();
  let last = '';
  for (;;) {
    const view = await readRollout(realm, id);
    step.progress(done(view));
    if (isThere(view)) return view;
    const now = JSON.stringify([view.state, view.progress.byState]);
    if (now !== last) movedAt = performance.now();
    last = now;
    if (view.pause !== null || performance.now() - movedAt > PATIENCE_MS) {
      throw new CroupierError('network.timeout', `rollout ${id} stands still: ${view.hold ?? last}`);
    }
    await delay(POLL_MS);
  }
}
