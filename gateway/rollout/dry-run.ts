/** What a rollout would do if it were started: nothing is changed. Pure. */
import type { DeviceId, Sha256 } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { earliestWaves } from './forecast.ts';
import { gatesOf, shareInWords, whatInWords } from './in-words.ts';
import { leftBehind, type LeftBehind } from './left-behind.ts';
import type { PlannedChange } from './plan.ts';
import { targetsAmong } from './targets.ts';
import { placing, type Assignment } from './waves.ts';
import { createWindows } from './window.ts';
import { finish, forEachInWork, type Work } from './work.ts';

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

function* placedByWave(
  plan: RolloutPlan,
  targets: readonly PlanDevice[],
  places: readonly Assignment[],
): Work<readonly (readonly Placed[])[]> {
  const byId = new Map<DeviceId, PlanDevice>();
  yield* forEachInWork(targets, (device) => void byId.set(device.id, device));
  const waves: Placed[][] = plan.waves.map(() => []);
  yield* forEachInWork(places, (place) => {
    const at = byId.get(place.device);
    if (at !== undefined) waves[place.wave]?.push({ ...place, at });
  });
  return waves;
}

function* membersOf(wave: readonly Placed[]): Work<readonly DryRunMember[]> {
  const members: DryRunMember[] = [];
  yield* forEachInWork(wave, ({ device, at }) => {
    members.push({ device, connected: at.connected, lastSeenAt: instant(at.lastSeenAt) });
  });
  return members;
}

function* offlineOf(plan: RolloutPlan, waves: readonly (readonly Placed[])[]): Work<DryRun['offline']> {
  const absent = waves
    .flatMap((wave) => wave.filter(({ at }) => !at.connected))
    .sort((a, b) => (a.at.lastSeenAt?.getTime() ?? 0) - (b.at.lastSeenAt?.getTime() ?? 0));
  yield undefined;
  const offline: DryRun['offline'][number][] = [];
  yield* forEachInWork(absent, ({ device, wave, at }) => {
    offline.push({ device, wave: plan.waves[wave]?.name ?? '', since: instant(at.lastSeenAt) });
  });
  return offline;
}

/** As `dryRun`, interruptibly. */
export function* dryRunning(request: DryRunRequest): Work<DryRun> {
  const { change, plan, planSha256, selector, devices, policy, now, startAt, open } = request;
  const targets = yield* targetsAmong(devices, change, selector);
  const { places, findings } = yield* placing(plan, targets, planSha256);
  const placed = yield* placedByWave(plan, targets, places);
  const windows = createWindows(plan.windows === 'respect' ? policy.rollouts.windows : {});
  const sites = placed.map((wave) =>
    wave.map(({ position, at: { site, connected } }) => ({ position, site, connected })),
  );
  const times = yield* earliestWaves(plan, sites, windows, startAt > now ? startAt : now);
  const waves: DryRunWave[] = [];
  for (const [index, wave] of placed.entries()) {
    waves.push({
      name: plan.waves[index]?.name ?? '',
      share: shareInWords(plan.waves[index]),
      soakMs: plan.waves[index]?.soakMs ?? 0,
      targets: wave.length,
      connected: countIf(wave, ({ at }) => at.connected),
      services: countIf(wave, ({ service }) => service),
      opensAt: instant(times[index]?.opensAt),
      beginsAt: instant(times[index]?.beginsAt),
      members: yield* membersOf(wave),
    });
  }
  const services = placed.flatMap((wave) => wave.flatMap(({ device, service }) => (service ? [device] : [])));
  const rivals = open.map(({ id, state }) => `rollout ${id} of the same thing is open (${state})`);
  return {
    change: change.kind,
    what: whatInWords(change),
    plan,
    planSha256,
    startAt: startAt.toISOString(),
    targets: targets.length,
    connected: countIf(targets, ({ connected }) => connected),
    waves,
    gates: gatesOf(change, plan, services),
    offline: yield* offlineOf(plan, placed),
    leftBehind: yield* leftBehind(change, selector, devices, policy, now),
    errors: findings.errors,
    warnings: [...rivals, ...findings.warnings],
  };
}

/** What would happen, for `croupier rollout plan`: a plan that cannot be carried out is shown with its errors. */
export const dryRun = (request: DryRunRequest): DryRun => finish(dryRunning(request));
