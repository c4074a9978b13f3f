/** Policies, plans, devices and rollouts for tests of what a rollout decides about its waves. */
import { stringify } from 'yaml';
import { parsePolicy } from '#gateway/operators/policy-command.ts';
import { resolvePlan } from '#gateway/rollout/plan.ts';
import type { RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import {
  DeviceClass,
  DeviceId,
  KeySetName,
  KeyVersionNumber,
  RolloutId,
  Sha256,
  SiteName,
  type TrustVersion,
} from '#schema/ids.ts';
import type { Policy, PolicyDocument } from '#schema/policy.ts';
import type { RolloutPlan, RolloutPlanPolicy } from '#schema/rollout-plan.ts';
import type { z } from 'zod';

export const NOON = new Date('2026-06-01T12:00:00.000Z');
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;
export const after = (ms: number, from: Date = NOON): Date => new Date(from.getTime() + ms);

export type PlanDocument = z.input<typeof RolloutPlanPolicy>;

/** A policy with the classes egm, service and sensor (Ed25519 only), and what is given. */
export function policyWith(parts: Omit<Partial<PolicyDocument>, 'version' | 'classes'> = {}): Policy {
  return parsePolicy(
    stringify({
      version: 1,
      classes: {
        egm: { keyTypes: ['EC-P256'], validity: '365d', grace: '90d' },
        service: { keyTypes: ['EC-P256'], validity: '90d', grace: '7d' },
        sensor: { keyTypes: ['Ed25519'], validity: '365d' },
      },
      ...parts,
    }),
  );
}

/** The plan that the policy would have under the name `weekly`. */
export const planOf = (document: PlanDocument): RolloutPlan =>
  resolvePlan(policyWith({ rollouts: { plans: { weekly: document } } }), 'weekly');

export function planDevice(
  id: string,
  change: Partial<Record<'class' | 'site', string>> & Partial<Omit<PlanDevice, 'id' | 'class' | 'site'>> = {},
): PlanDevice {
  const { class: deviceClass = 'egm', site = 'main', ...rest } = change;
  return {
    id: DeviceId.parse(id),
    class: DeviceClass.parse(deviceClass),
    site: SiteName.parse(site),
    labels: {},
    state: { kind: 'enrolled' },
    connected: true,
    lastSeenAt: NOON,
    certificate: { issuer: 'device-ca', createdAt: after(-30 * DAY), notAfter: after(300 * DAY) },
    ...rest,
  };
}

/** `egm-1` … `egm-<count>`. */
export const egms = (count: number): readonly PlanDevice[] =>
  Array.from({ length: count }, (_, index) => planDevice(`egm-${index + 1}`));

const ROLLOUT = RolloutId.parse('0198c5a0-0000-7000-8000-000000000001');

export type KeyVersionFields = Partial<Omit<Extract<RolloutRecord, { kind: 'key-version' }>, 'kind'>>;

const common = (
  plan: RolloutPlan,
): Omit<Extract<RolloutRecord, { kind: 'trust-bundle' }>, 'kind' | 'fromVersion' | 'toVersion'> => ({
  id: ROLLOUT,
  plan,
  planSha256: Sha256.parse('0'.repeat(64)),
  state: 'distributing',
  startAt: NOON,
  preparedAt: NOON,
  wave: 0,
  waveOpenedAt: NOON,
  waveSettledAt: undefined,
  pause: undefined,
  stragglersAt: undefined,
  requestedBy: 'hedy',
  createdAt: NOON,
  activatedAt: undefined,
  retiredAt: undefined,
  finishedAt: undefined,
});

/** A rollout of version 2 of wallet-kek, distributing since noon, its first wave open. */
export function keyRollout(plan: RolloutPlan, change: KeyVersionFields = {}): RolloutRecord {
  return {
    ...common(plan),
    kind: 'key-version',
    keySet: KeySetName.parse('wallet-kek'),
    fromVersion: KeyVersionNumber.parse(1),
    toVersion: KeyVersionNumber.parse(2),
    ...change,
  };
}

export function trustRollout(
  plan: RolloutPlan,
  from: TrustVersion,
  to: TrustVersion,
  state: RolloutRecord['state'],
): RolloutRecord {
  return { ...common(plan), kind: 'trust-bundle', fromVersion: from, toVersion: to, state };
}

export function planTarget(id: string, change: Partial<RolloutTarget> = {}): RolloutTarget {
  return {
    rollout: ROLLOUT,
    device: DeviceId.parse(id),
    wave: 0,
    position: 0,
    service: false,
    state: 'pending',
    code: undefined,
    reason: undefined,
    deferredUntil: undefined,
    offeredAt: undefined,
    attempts: 0,
    changedAt: NOON,
    old: 'in-use',
    signedOff: undefined,
    ...change,
  };
}
