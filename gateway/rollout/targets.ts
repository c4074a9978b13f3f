/** Which devices a rollout is for, and their places in its waves. Pure. */
import type { Selector } from '#schema/rollout-plan.ts';
import type { NewTarget, PlanDevice } from '#gateway/ports/store/rollouts.ts';
import type { KeySetRecord, RolloutChange, RolloutRecord } from '#gateway/ports/store/records.ts';
import { concerns } from './plan.ts';
import { assigning } from './waves.ts';
import { finish, forEachInWork, type Work } from './work.ts';

/** The selector that names the devices of a change. `keySet` is that of a key version. */
export function selectorOf(change: RolloutChange, keySet: KeySetRecord | undefined): Selector {
  switch (change.kind) {
    case 'key-version':
      return keySet?.selector ?? {};
    case 'trust-bundle':
      return {};
    case 're-enrolment':
      return change.campaign.selector;
  }
}

/** Those of the devices that the change is for. */
export function* targetsAmong(
  devices: readonly PlanDevice[],
  change: RolloutChange,
  selector: Selector,
): Work<readonly PlanDevice[]> {
  const targets: PlanDevice[] = [];
  yield* forEachInWork(devices, (device) => {
    if (concerns(change, selector, device)) targets.push(device);
  });
  return targets;
}

/** As `targetsOf`, interruptibly. */
export function* choosingTargets(
  rollout: RolloutRecord,
  selector: Selector,
  devices: readonly PlanDevice[],
): Work<readonly NewTarget[]> {
  const mine = yield* targetsAmong(devices, rollout, selector);
  const quarantined = new Set(mine.filter(({ state }) => state.kind === 'quarantined').map(({ id }) => id));
  const targets: NewTarget[] = [];
  yield* forEachInWork(yield* assigning(rollout.plan, mine, rollout.planSha256), (place) => {
    targets.push({ ...place, state: quarantined.has(place.device) ? 'quarantined' : 'pending' });
  });
  return targets;
}

/** The targets of a rollout. Quarantined devices are among them, so that they are served once they are released. */
export const targetsOf = (
  rollout: RolloutRecord,
  selector: Selector,
  devices: readonly PlanDevice[],
): readonly NewTarget[] => finish(choosingTargets(rollout, selector, devices));
