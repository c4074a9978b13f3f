/** Key versions that come and go while a scenario goes on. */
import type { DeviceId, KeyVersionNumber, RolloutId } from '#schema/ids.ts';
import type { RolloutStateName } from '#schema/api/views.ts';
import { beginRotation, destroyVersion, retireVersion, signOff, type Rotation } from '../operator/changes.ts';
import { settle } from './settle.ts';
import type { Stage } from './stage.ts';

/** Two people begin a rotation; resolves when the new version is active and everybody who is on uses it. */
export async function rotate(stage: Stage, reason: string): Promise<Rotation> {
  const rotation = await beginRotation(stage.operators, stage.keySet, reason);
  await untilRollout(stage, rotation.rollout, 'active');
  await settle(stage);
  return rotation;
}

/** Retires everything older than what the rotation brought. */
export async function retire(stage: Stage, { rollout }: Rotation): Promise<void> {
  await retireVersion(stage.operators, rollout);
  await untilRollout(stage, rollout, 'retired');
  await settle(stage);
}

/** Destroys what was retired with the rotation; resolves when the gateway has destroyed its own keys. */
export async function destroy(stage: Stage, { rollout, from }: Rotation): Promise<void> {
  await destroyVersion(stage.operators, rollout);
  await stage.until(`${stage.keySet} ${from} is destroyed`, async () =>
    (await versionState(stage, from)) === 'destroyed' ? true : undefined,
  );
  await settle(stage);
}

/** The devices need not be waited for: two people say so. */
export async function signOffStragglers(
  stage: Stage,
  { rollout }: Rotation,
  devices: readonly DeviceId[],
): Promise<void> {
  await signOff(stage.operators, rollout, devices, 'away for long, and known to be');
  for (const id of devices) stage.signedOff.add(id);
}

export async function versionState(stage: Stage, version: KeyVersionNumber): Promise<string | undefined> {
  const { versions } = await stage.client.call('keyset.show', { params: { name: stage.keySet } });
  return versions.find((one) => one.version === version)?.state;
}

const ORDER: readonly RolloutStateName[] = [
  'approved',
  'distributing',
  'ready',
  'active',
  'retiring',
  'retired',
  'destroying',
  'destroyed',
  'completed',
];

/** Waits until the rollout is in this state, or beyond it. Errors: `network.timeout`. */
export async function untilRollout(stage: Stage, rollout: RolloutId, state: RolloutStateName): Promise<void> {
  let last: string = 'nothing';
  await stage.until(
    `the rollout ${rollout} is ${state}`,
    async () => {
      const view = await stage.client.call('rollout.show', { params: { id: rollout } });
      last = view.hold === null ? view.state : `${view.state}: ${view.hold}`;
      return ORDER.indexOf(view.state) >= ORDER.indexOf(state) ? true : undefined;
    },
    { otherwise: () => last },
  );
}
