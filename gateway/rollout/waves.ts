/** Who belongs to which wave of a rollout, and whether a plan fits the devices. Pure and repeatable. */
import { hash } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import { selects, type RolloutPlan, type Selector } from '#schema/rollout-plan.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { planFaults } from './plan.ts';
import { finish, forEachInWork, type Work } from './work.ts';

/** The class of servers that share keys with devices: they must have a change before it is activated. */
export const SERVICE_CLASS = 'service';

/** What a place in a plan depends on. */
export type Placeable = Pick<PlanDevice, 'id' | 'class' | 'site' | 'labels'>;

export interface Assignment {
  readonly device: DeviceId;
  readonly wave: number;
  /** Rank in its wave, from 0, services first. */
  readonly position: number;
  readonly service: boolean;
}

interface Division<Device> {
  /** By wave, in the order of the hash. */
  readonly members: readonly (readonly Device[])[];
  /** In no wave. */
  readonly missed: readonly Device[];
  /** Waves by count that get fewer. */
  readonly short: readonly { readonly wave: number; readonly wanted: number; readonly left: number }[];
}

/** 48 bits of SHA-256 over seed and id: the same order everywhere, which nobody chose. */
const rankOf = (seed: string, id: string): number =>
  Number.parseInt(hash('sha256', `${seed}\0${id}`, 'hex').slice(0, 12), 16);

const countOf = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

const isService = (device: Placeable): boolean => device.class === SERVICE_CLASS;

/** Ranks are spread evenly, so that many small parts are sorted instead of one large one. */
const BUCKETS = 64;
const RANKS = 2 ** 48;

interface Ranked<Device> {
  readonly device: Device;
  readonly rank: number;
}

const byRank = <Device extends Placeable>(a: Ranked<Device>, b: Ranked<Device>): number =>
  a.rank - b.rank || (a.device.id < b.device.id ? -1 : 1);

function* inOrder<Device extends Placeable>(devices: readonly Device[], seed: string): Work<readonly Device[]> {
  const buckets: Ranked<Device>[][] = Array.from({ length: BUCKETS }, () => []);
  yield* forEachInWork(devices, (device) => {
    const rank = rankOf(seed, device.id);
    buckets[Math.floor((rank / RANKS) * BUCKETS)]?.push({ device, rank });
  });
  const ordered: Device[] = [];
  for (const bucket of buckets) {
    for (const { device } of bucket.sort(byRank)) ordered.push(device);
    yield undefined;
  }
  return ordered;
}

interface Selecting {
  readonly wave: number;
  readonly selector: Selector;
}

const selecting = (plan: RolloutPlan): readonly Selecting[] =>
  plan.waves.flatMap(({ share }, wave) => (share.by === 'selector' ? [{ wave, selector: share.selector }] : []));

const selectedBy = (waves: readonly Selecting[], device: Placeable): number | undefined =>
  waves.find(({ selector }) => selects(selector, device))?.wave;

function* divide<Device extends Placeable>(
  plan: RolloutPlan,
  devices: readonly Device[],
  seed: string,
): Work<Division<Device>> {
  const members: Device[][] = plan.waves.map(() => []);
  const remaining: Device[] = [];
  const selectors = selecting(plan);
  yield* forEachInWork(yield* inOrder(devices, seed), (device) => {
    const wave = selectedBy(selectors, device) ?? (isService(device) ? 0 : -1);
    (members[wave] ?? remaining).push(device);
  });
  const short: Division<Device>['short'][number][] = [];
  let taken = 0;
  let percent = 0;
  let quotaBefore = 0;
  plan.waves.forEach(({ share }, wave) => {
    if (share.by !== 'count' && share.by !== 'percent') return;
    let quota: number;
    if (share.by === 'count') quota = share.count;
    else {
      // Rounded up on the running sum: the first percents take somebody even of few, and 100 percent take all.
      percent += share.percent;
      const upTo = Math.ceil((devices.length * percent) / 100 - 1e-6);
      quota = upTo - quotaBefore;
      quotaBefore = upTo;
    }
    const left = remaining.length - taken;
    if (share.by === 'count' && quota > left) short.push({ wave, wanted: quota, left });
    members[wave] = [...(members[wave] ?? []), ...remaining.slice(taken, taken + quota)];
    taken = Math.min(remaining.length, taken + quota);
  });
  const left = remaining.slice(taken);
  const rest = plan.waves.findIndex(({ share }) => share.by === 'rest');
  if (rest === -1) return { members, missed: left, short };
  members[rest] = [...(members[rest] ?? []), ...left];
  return { members, missed: [], short };
}

function* placesIn<Device extends Placeable>({ members, missed }: Division<Device>): Work<readonly Assignment[]> {
  const places: Assignment[] = [];
  for (const [wave, own] of members.entries()) {
    const all = wave === members.length - 1 ? [...own, ...missed] : own;
    const ordered = [...all.filter(isService), ...all.filter((device) => !isService(device))];
    yield* forEachInWork(ordered, (device, position) => {
      places.push({ device: device.id, wave, position, service: isService(device) });
    });
  }
  return places;
}

/** As `assignWaves`, interruptibly. */
export function* assigning(
  plan: RolloutPlan,
  devices: readonly Placeable[],
  seed: string,
): Work<readonly Assignment[]> {
  return yield* placesIn(yield* divide(plan, devices, seed));
}

/**
 * Gives every device its wave and its place in it. A selector takes its devices first (the first one that names the
 * device); services that none takes belong to the first wave, since they must have the change before it is activated;
 * count and percent (of all devices, rounded up on the running sum) take from the others in the order of a hash of seed
 * and id; `rest` takes what is left. Devices that no wave takes, which `checkPlan` refuses, go to the last one. The
 * order of `devices` does not matter.
 */
export function assignWaves(plan: RolloutPlan, devices: readonly Placeable[], seed: string): readonly Assignment[] {
  return finish(assigning(plan, devices, seed));
}

/**
 * The wave of a device that enrols after the rollout has begun: that of its selector; a service belongs to the first one,
 * every other device to the last.
 */
export function waveOfLatecomer(plan: RolloutPlan, device: Placeable): number {
  return selectedBy(selecting(plan), device) ?? (isService(device) ? 0 : plan.waves.length - 1);
}

export interface PlanFindings {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

function overlaps(plan: RolloutPlan, devices: readonly Placeable[]): readonly string[] {
  const found = new Map<string, { readonly device: DeviceId; others: number }>();
  const selectors = selecting(plan);
  for (const device of devices) {
    const [first, second] = selectors.filter(({ selector }) => selects(selector, device));
    if (first === undefined || second === undefined) continue;
    const pair = `${plan.waves[first.wave]?.name} and ${plan.waves[second.wave]?.name}`;
    const known = found.get(pair);
    if (known === undefined) found.set(pair, { device: device.id, others: 0 });
    else known.others += 1;
  }
  return [...found].map(
    ([pair, { device, others }]) =>
      `the selectors of the waves ${pair} both take ${device}${others === 0 ? '' : ` and ${others} more`}`,
  );
}

function misfits(plan: RolloutPlan, devices: readonly PlanDevice[], division: Division<PlanDevice>): readonly string[] {
  const { members, missed, short } = division;
  const errors = [...overlaps(plan, devices)];
  for (const { wave, wanted, left } of short)
    errors.push(`the wave ${plan.waves[wave]?.name} takes ${wanted} devices, and ${left} are left for it`);
  const [lost] = missed;
  if (lost !== undefined)
    errors.push(
      `${countOf(missed.length, 'device')} would be in no wave, ${lost.id} among them; add one with rest: true`,
    );
  plan.waves.forEach(({ name }, wave) => {
    const targets = members[wave]?.length ?? 0;
    if (targets > 0 && targets < plan.minimumSample)
      errors.push(
        `the wave ${name} can never pass: it has ${countOf(targets, 'target')}, and minimumSample is ${plan.minimumSample}`,
      );
  });
  return errors;
}

function cautions(
  plan: RolloutPlan,
  devices: readonly PlanDevice[],
  division: Division<PlanDevice>,
): readonly string[] {
  if (devices.length === 0) return ['there are no targets'];
  const warnings: string[] = [];
  plan.waves.forEach(({ name }, wave) => {
    const targets = division.members[wave] ?? [];
    const connected = targets.filter((device) => device.connected).length;
    if (targets.length === 0) warnings.push(`the wave ${name} has no targets`);
    else if (connected === 0) warnings.push(`no target of the wave ${name} is connected; it passes once some return`);
    else if (connected < plan.minimumSample)
      warnings.push(
        `${connected} of ${targets.length} targets of the wave ${name} are connected, fewer than minimumSample (${plan.minimumSample})`,
      );
  });
  if (!devices.some(isService))
    warnings.push(`no target is of the class ${SERVICE_CLASS}, so activation waits for none`);
  if (plan.success + plan.errors > 1 + 1e-9)
    warnings.push(
      `success ${plan.success} and errors ${plan.errors} leave a gap: a wave with too few successes for the one and too few failures for the other neither passes nor pauses`,
    );
  return warnings;
}

function findingsOf(plan: RolloutPlan, devices: readonly PlanDevice[], division: Division<PlanDevice>): PlanFindings {
  return {
    errors: [...planFaults(plan), ...(devices.length === 0 ? [] : misfits(plan, devices, division))],
    warnings: cautions(plan, devices, division),
  };
}

/** As `examinePlan`, interruptibly. */
export function* examining(plan: RolloutPlan, devices: readonly PlanDevice[], seed: string): Work<PlanFindings> {
  const division = yield* divide(plan, devices, seed);
  yield undefined;
  return findingsOf(plan, devices, division);
}

/** As `assignWaves` and `examinePlan` together, interruptibly. */
export function* placing(
  plan: RolloutPlan,
  devices: readonly PlanDevice[],
  seed: string,
): Work<{ readonly places: readonly Assignment[]; readonly findings: PlanFindings }> {
  const division = yield* divide(plan, devices, seed);
  const places = yield* placesIn(division);
  return { places, findings: findingsOf(plan, devices, division) };
}

/**
 * What is wrong with carrying out the plan on these devices, and what is worth knowing before. Thresholds alone make no
 * plan impossible, since a wave all of whose targets store the change meets any; a sample that a wave never reaches does.
 * Who is in a wave follows from the seed; whether the plan fits does not.
 */
export function examinePlan(plan: RolloutPlan, devices: readonly PlanDevice[], seed = ''): PlanFindings {
  return finish(examining(plan, devices, seed));
}

/**
 * Refuses a plan that cannot be carried out; answers the warnings.
 * Errors: `rollout.plan-invalid`, whose message names every fault.
 */
export function requireSound(plan: RolloutPlan, { errors, warnings }: PlanFindings): readonly string[] {
  if (errors.length > 0) throw new CroupierError('rollout.plan-invalid', `plan ${plan.name}: ${errors.join('; ')}`);
  return warnings;
}

/** Refuses a plan that cannot be carried out on these devices. Errors: those of `requireSound`. */
export function checkPlan(plan: RolloutPlan, devices: readonly PlanDevice[]): readonly string[] {
  return requireSound(plan, examinePlan(plan, devices));
}
