/** From what somebody would roll out to what it would do: the three changes, one dry run. */
import type { RolloutPlanChange } from '#schema/api/views.ts';
import type { PlanRollout } from '../api/handlers/types.ts';
import { nextRotation } from '../keys/commands.ts';
import { campaignChange } from '../rollout/commands.ts';
import type { PlannedChange } from '../rollout/plan.ts';
import { planFor } from '../rollout/planning.ts';
import { nextTrustChange, type NextBundlePorts } from '../trust/publish.ts';

/** `ports.onPublished` is never called: nothing is changed. */
export function rolloutPlanner(ports: NextBundlePorts): PlanRollout {
  const plannedChange = (change: RolloutPlanChange): Promise<PlannedChange> | PlannedChange => {
    switch (change.kind) {
      case 'key-version':
        return nextRotation(ports, change.keySet);
      case 'trust-bundle':
        return nextTrustChange(ports, change.anchors);
      case 're-enrolment':
        return campaignChange(change, ports.clock.now());
    }
  };
  return async ({ change, ...terms }) => planFor(ports, await plannedChange(change), terms);
}
