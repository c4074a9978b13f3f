/** What a rollout would do if it were started: nothing is changed. Pure. */
import type { DeviceId, Sha256 } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { earliestWaves } from './forecast.ts';
import { gatesOf, shareInWords, whatInWords } from './in-words.ts';
import { leftBehind, type LeftBehind } from './left-behind.ts';
import { concerns, type PlannedChange } from './plan.ts';
import { assignWaves, examinePlan, type Assignment } from './waves.ts';
import { createWindows } from './window.ts';

export interface DryRunRequest {
  readonly change: PlannedChange;
  readonly plan: RolloutPlan;
  /** Also the seed of the waves: a rollout that assigns its own by it has the members that are shown here. */
  readonly planSha256: Sha256;
  /** Which devices the change is for: of the key set or of the campaign; empty for a trust bundle. */
  readonly selector: Selector;
  /** The devices of the floor. */
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
  /** The earliest times at which it can open, and at which the first of its targets can be begun with; null for never. */
  readonly opensAt: string | null;
  readonly beginsAt: string | null;
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
  /** Devices that the change does not reach as things stand, by reason. */
  readonly leftBehind: readonly LeftBehind[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

type Placed = Assignment & { readonly at: PlanDevice };

const instant = (date: Date | undefined): string | null => date?.toISOString() ?? null;
const countIf = <Item>(items: readonly Item[], test: (item: Item) => boolean): number => items.filter(test).length;

function placedByWave(plan: RolloutPlan, targets: readonly PlanDevice[], seed: string): readonly (readonly Placed[])[] {
  const byId = new Map(targets.map((device) => [device.id, device]));
  const waves: Placed[][] = plan.waves.map(() => []);
  for (const assignment of assignWaves(plan, targets, seed)) {
    const at = byId.get(assignment.device);
    if (at !== undefined) waves[assignment.wave]?.push({ ...assignment, at });
  }
  return waves;
}

function offlineOf(plan: RolloutPlan, waves: readonly (readonly Placed[])[]): DryRun['offline'] {
  return waves
    .flatMap((wave) => wave.filter(({ at }) => !at.connected))
    .sort((a, b) => (a.at.lastSeenAt?.getTime() ?? 0) - (b.at.lastSeenAt?.getTime() ?? 0))
    .map(({ device, wave, at }) => ({ device, wave: plan.waves[wave]?.name ?? '', since: instant(at.lastSeenAt) }));
}

/** What would happen, for `croupier rollout plan`: a plan that cannot be carried out is shown with its errors. */
export function dryRun(request: DryRunRequest): DryRun {
  const { change, plan, planSha256, selector, devices, policy, now, startAt, open } = request;
  const targets = devices.filter((device) => concerns(change, selector, device));
  const waves = placedByWave(plan, targets, planSha256);
  const windows = createWindows(plan.windows === 'respect' ? policy.rollouts.windows : {});
  const times = earliestWaves(
    plan,
    waves.map((wave) => wave.map(({ position, at }) => ({ position, site: at.site, connected: at.connected }))),
    windows,
    startAt > now ? startAt : now,
  );
  const { errors, warnings } = examinePlan(plan, targets);
  return {
    change: change.kind,
    what: whatInWords(change),
    plan,
    planSha256,
    startAt: startAt.toISOString(),
    targets: targets.length,
    connected: countIf(targets, ({ connected }) => connected),
    waves: waves.map((wave, index) => ({
      name: plan.waves[index]?.name ?? '',
      share: shareInWords(plan.waves[index]),
      soakMs: plan.waves[index]?.soakMs ?? 0,
      targets: wave.length,
      connected: countIf(wave, ({ at }) => at.connected),
      services: countIf(wave, ({ service }) => service),
      opensAt: instant(times[index]?.opensAt),
      beginsAt: instant(times[index]?.beginsAt),
      members: wave.map(({ device, at }) => ({
        device,
        connected: at.connected,
        lastSeenAt: instant(at.lastSeenAt),
      })),
    })),
    gates: gatesOf(
      change,
      plan,
      waves.flat().flatMap(({ device, service }) => (service ? [device] : [])),
    ),
    offline: offlineOf(plan, waves),
    leftBehind: leftBehind(change, selector, devices, policy, now),
    errors,
    warnings: [...open.map(({ id, state }) => `rollout ${id} of the same thing is open (${state})`), ...warnings],
  };
}
