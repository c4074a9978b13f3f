/** Who belongs to which wave of a rollout, and whether a plan fits the devices. Pure and repeatable. */
import { hash } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import { selects, type RolloutPlan } from '#schema/rollout-plan.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { planFaults } from './plan.ts';

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
const rankOf = (seed: string, id: string): number => hash('sha256', `${seed}\0${id}`, 'buffer').readUIntBE(0, 6);

const isService = (device: Placeable): boolean => device.class === SERVICE_CLASS;

function inOrder<Device extends Placeable>(devices: readonly Device[], seed: string): Device[] {
  return devices
    .map((device) => ({ device, rank: rankOf(seed, device.id) }))
    .sort((a, b) => a.rank - b.rank || (a.device.id < b.device.id ? -1 : 1))
    .map(({ device }) => device);
}

/** Waves whose selector takes the device. */
const selectorWaves = (plan: RolloutPlan, device: Placeable): number[] =>
  plan.waves.flatMap(({ share }, wave) => (share.by === 'selector' && selects(share.selector, device) ? [wave] : []));

function divide<Device extends Placeable>(
  plan: RolloutPlan,
  devices: readonly Device[],
  seed: string,
): Division<Device> {
  const members: Device[][] = plan.waves.map(() => []);
  const remaining: Device[] = [];
  for (const device of inOrder(devices, seed)) {
    const [selected] = selectorWaves(plan, device);
    (members[selected ?? (isService(device) ? 0 : -1)] ?? remaining).push(device);
  }
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
    members[wave]?.push(...remaining.slice(taken, taken + quota));
    taken = Math.min(remaining.length, taken + quota);
  });
  const rest = members[plan.waves.findIndex(({ share }) => share.by === 'rest')];
  rest?.push(...remaining.slice(taken));
  return { members, missed: rest === undefined ? remaining.slice(taken) : [], short };
}

/**
 * Gives every device its wave and its place in it. A selector takes its devices first (the first one that names the
 * device); services that none takes belong to the first wave, since they must have the change before it is activated;
 * count and percent (of all devices, rounded up on the running sum) take from the others in the order of a hash of seed
 * and id; `rest` takes what is left. Devices that no wave takes, which `checkPlan` refuses, go to the last one. The
 * order of `devices` does not matter.
 */
export function assignWaves(plan: RolloutPlan, devices: readonly Placeable[], seed: string): readonly Assignment[] {
  const { members, missed } = divide(plan, devices, seed);
  return members.flatMap((wave, index) => {
    const all = index === members.length - 1 ? [...wave, ...missed] : wave;
    const ordered = [...all.filter(isService), ...all.filter((device) => !isService(device))];
    return ordered.map((device, position) => ({
      device: device.id,
      wave: index,
      position,
      service: isService(device),
    }));
  });
}

/**
 * The wave of a device that enrols after the rollout has begun: that of its selector; a service belongs to the first one,
 * every other device to the last.
 */
export function waveOfLatecomer(plan: RolloutPlan, device: Placeable): number {
  const [selected] = selectorWaves(plan, device);
  return selected ?? (isService(device) ? 0 : plan.waves.length - 1);
}

export interface PlanFindings {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** What is wrong with carrying out the plan on these devices, and what is worth knowing before. */
export function examinePlan(_plan: RolloutPlan, _devices: readonly PlanDevice[]): PlanFindings {
  return { errors: planFaults(_plan), warnings: [] };
}

/**
 * Refuses a plan that cannot be carried out on these devices; answers the warnings.
 * Errors: `rollout.plan-invalid`, whose message names every fault.
 */
export function checkPlan(plan: RolloutPlan, devices: readonly PlanDevice[]): readonly string[] {
  const { errors, warnings } = examinePlan(plan, devices);
  if (errors.length > 0) throw new CroupierError('rollout.plan-invalid', `plan ${plan.name}: ${errors.join('; ')}`);
  return warnings;
}
