/** Changes that operators make, each by the role that may ask for it and, where it takes two people, approved. */
import { z } from 'zod';
import {
  KeyVersionNumber,
  RolloutId,
  TrustVersion,
  type DeviceId,
  type EnrolmentId,
  type KeySetName,
} from '#schema/ids.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import type { Operators } from './operators.ts';

const Begun = z.object({ rollout: RolloutId, from: KeyVersionNumber, to: KeyVersionNumber });
export type Rotation = z.infer<typeof Begun>;

const Published = z.object({ version: TrustVersion });

/** What came of it does not matter. */
const Anything = z.unknown();

/** A rotation, asked for by the key admin and approved; by a plan of the policy if one is named. Errors: those of the gateway. */
export async function beginRotation(
  operators: Operators,
  keySet: KeySetName,
  reason: string,
  plan?: string,
): Promise<Rotation> {
  const { client } = operators.as('key-admin');
  const body = plan === undefined ? { reason } : { reason, plan };
  return operators.complete(await client.call('keyset.rotate', { params: { name: keySet }, body }), Begun);
}

export async function retireVersion(operators: Operators, rollout: RolloutId): Promise<void> {
  const { client } = operators.as('key-admin');
  await operators.complete(await client.call('keyset.retire', { params: { id: rollout } }), Anything);
}

export async function destroyVersion(operators: Operators, rollout: RolloutId): Promise<void> {
  const { client } = operators.as('key-admin');
  await operators.complete(await client.call('keyset.destroy', { params: { id: rollout } }), Anything);
}

/** Two people say that the change need not wait for these devices. */
export async function signOff(
  operators: Operators,
  rollout: RolloutId,
  devices: readonly DeviceId[],
  reason: string,
): Promise<void> {
  const { client } = operators.as('device-engineer');
  const body = { devices: [...devices], reason };
  await operators.complete(await client.call('rollout.sign-off', { params: { id: rollout }, body }), Anything);
}

/** An engineer has the targets that have failed begun with anew. */
export async function retryFailed(operators: Operators, rollout: RolloutId): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(await client.call('rollout.retry', { params: { id: rollout }, body: {} }), Anything);
}

/** Two people let a paused rollout go on. */
export async function resumeRollout(operators: Operators, rollout: RolloutId, reason: string): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(
    await client.call('rollout.resume', { params: { id: rollout }, body: { reason } }),
    Anything,
  );
}

export async function publishTrust(operators: Operators, reason: string): Promise<TrustVersion> {
  const { client } = operators.as('key-admin');
  return (await operators.complete(await client.call('trust.publish', { body: { reason } }), Published)).version;
}

export async function quarantineDevice(operators: Operators, id: DeviceId, reason: string): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(await client.call('device.quarantine', { params: { id }, body: { reason } }), Anything);
}

export async function revokeDevice(operators: Operators, id: DeviceId, reason: string): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(await client.call('device.revoke', { params: { id }, body: { reason } }), Anything);
}

export async function reBaselineDevice(operators: Operators, id: DeviceId, reason: string): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(await client.call('device.re-baseline', { params: { id }, body: { reason } }), Anything);
}

/** An engineer lets a parked request have its certificate. */
export async function approveEnrolment(operators: Operators, id: EnrolmentId): Promise<void> {
  const { client } = operators.as('device-engineer');
  await operators.complete(await client.call('enrolment.approve', { params: { id }, body: {} }), Anything);
}

/** JSON is YAML. */
export async function applyPolicy(operators: Operators, policy: PolicyDocument): Promise<void> {
  const { client } = operators.as('key-admin');
  const { policy: current } = await client.call('policy.show', {});
  const body = { document: JSON.stringify(policy), replaces: current?.sha256 ?? null };
  await operators.complete(await client.call('policy.apply', { body }), Anything);
}
