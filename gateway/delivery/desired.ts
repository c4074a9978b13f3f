/**
 * What a device should hold of one key set, and how that differs from what it proved to hold (D§1.1). Pure.
 *
 * Keyrings jump: the answer depends on the present alone, never on what the device missed.
 */
import type { KeyVersionNumber } from '#schema/ids.ts';
import type { DeliveryState, PlannedKeyring } from '#gateway/ports/store/delivery.ts';
import type {
  DeviceKeyVersion,
  KeySetRecord,
  KeyVersionRecord,
  RolloutRecord,
  RolloutTarget,
} from '#gateway/ports/store/records.ts';

export interface DesiredKeyring {
  readonly active: KeyVersionNumber | null;
  readonly accept: readonly KeyVersionNumber[];
  /** Versions that no device may hold any more. */
  readonly gone: readonly KeyVersionNumber[];
}

type RolloutOfDevice = { readonly rollout: RolloutRecord; readonly target: RolloutTarget | undefined };

/** Whether a version that is not active yet is being distributed to this device. */
function isExposed(version: KeyVersionRecord, rollouts: readonly RolloutOfDevice[]): boolean {
  return rollouts.some(
    ({ rollout, target }) =>
      rollout.keySet === version.keySet &&
      rollout.toVersion === version.version &&
      (rollout.state === 'distributing' || rollout.state === 'ready') &&
      target?.state !== 'exempt' &&
      target?.state !== 'quarantined',
  );
}

export function desiredKeyring(keySet: KeySetRecord, rollouts: readonly RolloutOfDevice[]): DesiredKeyring {
  let active: KeyVersionNumber | null = null;
  const accept: KeyVersionNumber[] = [];
  const gone: KeyVersionNumber[] = [];
  for (const version of keySet.versions) {
    switch (version.state) {
      case 'active':
        active = version.version;
        accept.push(version.version);
        break;
      case 'deactivated':
        if (version.retiredAt === undefined) accept.push(version.version);
        break;
      case 'pre-activation':
        if (isExposed(version, rollouts)) accept.push(version.version);
        break;
      case 'suspended':
        break;
      case 'compromised':
      case 'destroyed':
        gone.push(version.version);
        break;
    }
  }
  return { active, accept, gone };
}

const isHeld = (state: DeviceKeyVersion['state']): boolean =>
  state === 'stored' || state === 'active' || state === 'retired';

/** The keyring to send, or undefined when the device holds exactly what it should. */
export function keyringDifference(
  keySet: KeySetRecord,
  held: readonly DeviceKeyVersion[],
  desired: DesiredKeyring,
): PlannedKeyring | undefined {
  const stateOf = new Map(held.map((row) => [row.version, row.state]));
  const deliver = desired.accept.filter((version) => {
    const state = stateOf.get(version);
    return state === undefined || state === 'offered';
  });
  const destroy = desired.gone.filter((version) => {
    const state = stateOf.get(version);
    return state !== undefined && state !== 'destroyed';
  });
  const toRetire = held.some(
    (row) =>
      (row.state === 'stored' || row.state === 'active') &&
      !desired.accept.includes(row.version) &&
      !desired.gone.includes(row.version),
  );
  const notActivated = desired.active !== null && stateOf.get(desired.active) !== 'active';
  const toDeactivate = held.some((row) => row.state === 'active' && row.version !== desired.active);
  if (deliver.length === 0 && destroy.length === 0 && !toRetire && !notActivated && !toDeactivate) return undefined;
  return { keySet, revision: keySet.revision, active: desired.active, accept: desired.accept, destroy, deliver };
}

/** All keyrings that differ, of a device as the store knows it. */
export function keyringDifferences(
  state: Pick<DeliveryState, 'keySets' | 'rollouts' | 'versions'>,
): readonly PlannedKeyring[] {
  const planned: PlannedKeyring[] = [];
  for (const keySet of state.keySets) {
    const held = state.versions.filter((row) => row.keySet === keySet.name);
    const difference = keyringDifference(keySet, held, desiredKeyring(keySet, state.rollouts));
    if (difference !== undefined) planned.push(difference);
  }
  return planned;
}

export { isHeld };
