/** The plan of one rollout: from the policy as people write it to what is approved, hashed and stored. */
import { createHash } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import { Sha256 } from '#schema/ids.ts';
import type { KeySetName, KeyVersionNumber, TrustVersion } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import {
  DEFAULT_PLAN,
  RolloutPlanPolicy,
  selects,
  type PlannedWave,
  type RolloutPlan,
  type Selector,
  type WindowPolicy,
} from '#schema/rollout-plan.ts';
import { canonicalJson, type Json } from '#schema/runtime/canonical-json.ts';
import type { Campaign, RolloutChange } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';

/** What would be rolled out, as it is approved. */
export type PlannedChange =
  | {
      readonly kind: 'key-version';
      readonly keySet: KeySetName;
      readonly fromVersion: KeyVersionNumber;
      readonly toVersion: KeyVersionNumber;
    }
  | {
      readonly kind: 'trust-bundle';
      readonly fromVersion: TrustVersion;
      readonly toVersion: TrustVersion;
      /** SHA-256 of the anchors and message signers that the bundle will carry. */
      readonly anchorsSha256: Sha256;
    }
  | { readonly kind: 're-enrolment'; readonly campaign: Campaign };

/** Name of the plan of successors of compromised keys; no plan of the policy may have it. */
export const EXPEDITED_PLAN = 'expedited';

function shareOf(wave: {
  readonly percent?: number | undefined;
  readonly count?: number | undefined;
  readonly selector?: Selector | undefined;
}): PlannedWave['share'] {
  if (wave.percent !== undefined) return { by: 'percent', percent: wave.percent };
  if (wave.count !== undefined) return { by: 'count', count: wave.count };
  if (wave.selector !== undefined) return { by: 'selector', selector: wave.selector };
  return { by: 'rest' };
}

function wavesOf({ canary, waves }: RolloutPlanPolicy): PlannedWave[] {
  const planned = (name: string, wave: Parameters<typeof shareOf>[0] & { readonly soak: number }): PlannedWave => ({
    name,
    share: shareOf(wave),
    soakMs: wave.soak,
  });
  return [
    ...(canary === undefined ? [] : [planned('canary', canary)]),
    ...waves.map((wave, index) => planned(wave.name ?? `wave-${index + 1}`, wave)),
  ];
}

/**
 * The plan of this name, or `DEFAULT_PLAN` when none is named: that one is there even if the policy does not write it
 * down. A canary becomes the wave `canary` before the others, waves without a name become `wave-1`, `wave-2` …
 * Errors: `rollout.plan-not-found`, naming the plans there are.
 */
export function resolvePlan(policy: Policy, name: string = DEFAULT_PLAN): RolloutPlan {
  const plans: Readonly<Record<string, RolloutPlanPolicy>> = policy.rollouts.plans;
  const written = Object.hasOwn(plans, name) ? plans[name] : undefined;
  const plan = written ?? (name === DEFAULT_PLAN ? RolloutPlanPolicy.parse({}) : undefined);
  if (plan === undefined) {
    const known = [...new Set([DEFAULT_PLAN, ...Object.keys(plans)])].sort();
    throw new CroupierError('rollout.plan-not-found', `there is no rollout plan ${name}; there is ${known.join(', ')}`);
  }
  return {
    name,
    waves: wavesOf(plan),
    success: plan.success,
    errors: plan.errors,
    minimumSample: plan.minimumSample,
    quorum: plan.quorum,
    timeoutMs: plan.timeout,
    retries: plan.retries,
    windows: plan.windows,
    rate: plan.rate === undefined ? null : { targets: plan.rate.targets, perMs: plan.rate.per },
    stragglers: { action: plan.stragglers.action, afterMs: plan.stragglers.after },
  };
}

/** The same care for everybody at once, at any hour: how the successor of a compromised key reaches the devices. */
export function expedited(plan: RolloutPlan): RolloutPlan {
  return {
    ...plan,
    name: EXPEDITED_PLAN,
    waves: [{ name: 'everybody', share: { by: 'rest' }, soakMs: 0 }],
    minimumSample: 1,
    windows: 'ignore',
    rate: null,
  };
}

/** Whether the change is for this device; `selector` is that of the key set or campaign. */
export function concerns(
  change: RolloutChange,
  selector: Selector,
  device: Pick<PlanDevice, 'class' | 'site' | 'labels' | 'state' | 'certificate'>,
): boolean {
  const { kind } = device.state;
  if (kind === 'revoked' || kind === 'registered' || !selects(selector, device)) return false;
  if (change.kind !== 're-enrolment') return true;
  const { issuer, before } = change.campaign;
  const { certificate } = device;
  return (
    certificate !== undefined &&
    certificate.createdAt < before &&
    (issuer === undefined || certificate.issuer === issuer)
  );
}

function changeJson(change: PlannedChange): Json {
  switch (change.kind) {
    case 'key-version':
      return { kind: change.kind, keySet: change.keySet, from: change.fromVersion, to: change.toVersion };
    case 'trust-bundle':
      return {
        kind: change.kind,
        from: change.fromVersion,
        to: change.toVersion,
        anchorsSha256: change.anchorsSha256,
      };
    case 're-enrolment': {
      const { reason, selector, issuer, before } = change.campaign;
      return { kind: change.kind, campaign: { reason, selector, issuer, before: before.toISOString() } };
    }
  }
}

/**
 * SHA-256 (lower-case hex) over canonical JSON (RFC 8785) of what an approval of a rollout binds to: what is rolled out,
 * the plan and, when the plan respects windows, all windows of the policy. Who is in which wave is no part of it
 * (docs/decisions/008).
 */
export function planHash(
  change: PlannedChange,
  plan: RolloutPlan,
  windows: Readonly<Record<string, WindowPolicy>>,
): Sha256 {
  const bound = { change: changeJson(change), plan, ...(plan.windows === 'respect' ? { windows } : {}) };
  return Sha256.parse(createHash('sha256').update(canonicalJson(bound), 'utf8').digest('hex'));
}

/** What is wrong with a plan whatever the devices: sentences, none when nothing is. */
export function planFaults(plan: RolloutPlan): readonly string[] {
  const faults: string[] = [];
  const names = plan.waves.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) faults.push(`two waves have the name ${twice}`);
  const rests = plan.waves.filter(({ share }) => share.by === 'rest');
  if (rests.length > 1) faults.push(`the waves ${rests.map(({ name }) => name).join(' and ')} both take the rest`);
  const percent = plan.waves.reduce((sum, { share }) => sum + (share.by === 'percent' ? share.percent : 0), 0);
  if (percent > 100 + 1e-9) faults.push(`its waves take ${Number(percent.toFixed(6))} percent of the targets`);
  return faults;
}
