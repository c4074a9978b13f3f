/** Whom a rollout does not reach as things stand, and why. */
import type { DeviceId } from '#schema/ids.ts';
import type { ClassPolicy, Policy } from '#schema/policy.ts';
import { selects, type Selector } from '#schema/rollout-plan.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { concerns, type PlannedChange } from './plan.ts';
import { forEachInWork, type Work } from './work.ts';

export interface LeftBehind {
  readonly why: string;
  readonly devices: readonly DeviceId[];
}

/** Ed25519 signs only; without a key for key agreement or encipherment nothing can be sealed to a device. */
const isDeaf = (policy: ClassPolicy | undefined): boolean =>
  policy?.keyTypes.every((type) => type === 'Ed25519') === true;

function reason(
  change: PlannedChange,
  selector: Selector,
  device: PlanDevice,
  policy: Policy,
  now: Date,
): string | undefined {
  const { state, certificate } = device;
  if (state.kind === 'revoked') return 'revoked';
  if (!selects(selector, device)) return 'not in the selector';
  if (state.kind === 'registered') return 'registered and never enrolled';
  if (!concerns(change, selector, device)) return 'its certificate is none that the campaign replaces';
  if (state.kind === 'quarantined') return 'quarantined';
  if (certificate === undefined) return 'no certificate that holds';
  const profile = Object.hasOwn(policy.classes, device.class) ? policy.classes[device.class] : undefined;
  if (certificate.notAfter.getTime() + (profile?.grace ?? 0) < now.getTime())
    return 'its certificate expired longer ago than the grace of its class';
  if (change.kind === 'key-version' && isDeaf(profile)) return 'its certificate has no key to which keys can be sealed';
  return undefined;
}

/** Devices that the change does not reach, by reason, in the order in which the reasons come up. */
export function* leftBehind(
  change: PlannedChange,
  selector: Selector,
  devices: readonly PlanDevice[],
  policy: Policy,
  now: Date,
): Work<readonly LeftBehind[]> {
  const byReason = new Map<string, DeviceId[]>();
  yield* forEachInWork(devices, (device) => {
    const why = reason(change, selector, device, policy, now);
    if (why === undefined) return;
    const known = byReason.get(why);
    if (known === undefined) byReason.set(why, [device.id]);
    else known.push(device.id);
  });
  return [...byReason].map(([why, named]) => ({ why, devices: named }));
}
