/** What a rollout would do if it were started: nothing is changed. Pure. */
import type { DeviceId, Sha256 } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import type { PlannedChange } from './plan.ts';

export interface DryRunRequest {
  readonly change: PlannedChange;
  readonly plan: RolloutPlan;
  readonly planSha256: Sha256;
  /** Which devices the change is for: of the key set or of the campaign; all for a trust bundle. */
  readonly selector: Selector;
  /** The devices of the floor that are not revoked. */
  readonly devices: readonly PlanDevice[];
  readonly policy: Policy;
  readonly now: Date;
  readonly startAt: Date;
  /** Rollouts of the same thing that have not ended. */
  readonly open: readonly RolloutRecord[];
}

export interface DryRunMember {
  readonly device: DeviceId;
  readonly connected: boolean;
  readonly lastSeenAt: string | null;
}

export interface DryRunWave {
  readonly name: string;
  /** Which targets it takes, in words. */
  readonly share: string;
  readonly soakMs: number;
  readonly targets: number;
  readonly connected: number;
  readonly services: number;
  /** The earliest time at which it could open; null when that is never. */
  readonly opensAt: string | null;
  /** In the order in which they are begun with. */
  readonly members: readonly DryRunMember[];
}

/** Plain data. Times are RFC 3339. */
export interface DryRun {
  readonly change: PlannedChange['kind'];
  /** What is rolled out, in words. */
  readonly what: string;
  readonly plan: RolloutPlan;
  readonly planSha256: Sha256;
  readonly startAt: string;
  readonly targets: number;
  readonly connected: number;
  readonly waves: readonly DryRunWave[];
  /** What has to be true before it goes on, in words. */
  readonly gates: readonly string[];
  /** Targets that are not connected, the longest absent first. */
  readonly offline: readonly { readonly device: DeviceId; readonly wave: string; readonly since: string | null }[];
  /** Devices that the change will not reach as things stand, by reason. */
  readonly leftBehind: readonly { readonly why: string; readonly devices: readonly DeviceId[] }[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

export type DryRunFunction = (request: DryRunRequest) => DryRun;
