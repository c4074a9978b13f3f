/** Which devices a rollout is for, and their places in its waves. Pure. */
import type { Selector } from '#schema/rollout-plan.ts';
import type { NewTarget, PlanDevice } from '#gateway/ports/store/rollouts.ts';
import type { KeySetRecord, RolloutChange, RolloutRecord } from '#gateway/ports/store/records.ts';
import { concerns } from './plan.ts';
import { assignWaves } from './waves.ts';

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

/** The targets of a rollout. Quarantined devices are among them, so that they are served once they are released. */
export function targetsOf(
  rollout: RolloutRecord,
  selector: Selector,
  devices: readonly PlanDevice[],
): readonly NewTarget[] {
  const mine = devices.filter((device) => concerns(rollout, selector, device));
  const quarantined = new Set(mine.filter(({ state }) => state.kind === 'quarantined').map(({ id }) => id));
  return assignWaves(rollout.plan, mine, rollout.planSha256).map((place) => ({
    ...place,
    state: quarantined.has(place.device) ? 'quarantined' : 'pending',
  }));
}
