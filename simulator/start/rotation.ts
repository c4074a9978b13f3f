/** One rotation, watched until the devices that can be reached have taken it. */
import { setTimeout as delay } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';
import type { KeySetName } from '#schema/ids.ts';
import type { RolloutView } from '#schema/api/views.ts';
import type { Floor } from '../floor/floor.ts';
import type { Rotation } from '../operator/changes.ts';
import type { Operators } from '../operator/operators.ts';
import type { Step } from '../output/steps.ts';
import { watchGoal } from '../verify/converge.ts';
import { rotatedGoal } from '../verify/expectation.ts';

const POLL_MS = 200;
const ACTIVE_WITHIN_MS = 60_000;

/** Waits for the devices, by their own word, then for the gateway's. Errors: `network.timeout`. */
export async function finishRotation(
  floor: Floor,
  operators: Operators,
  keySet: KeySetName,
  { rollout, to }: Rotation,
  step: Step,
  signal: AbortSignal,
): Promise<RolloutView> {
  const { observer } = floor;
  observer.setGoal(rotatedGoal(keySet, to));
  await watchGoal(floor, observer.counts().phases.connected, step, signal);
  const { client } = operators.as('key-admin');
  const end = performance.now() + ACTIVE_WITHIN_MS;
  for (;;) {
    const view = await client.call('rollout.show', { params: { id: rollout } });
    const { progress } = view;
    const isTaken = (progress.byState.active ?? 0) >= observer.counts().atGoal;
    if ((view.state === 'active' && isTaken) || signal.aborted) return view;
    if (performance.now() > end) {
      throw new CroupierError(
        'network.timeout',
        `the rollout of ${keySet} ${to} stays ${view.state}${view.hold === null ? '' : `: ${view.hold}`}; see croupier rollout show ${rollout}`,
      );
    }
    await delay(POLL_MS);
  }
}
