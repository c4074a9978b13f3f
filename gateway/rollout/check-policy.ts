/** What the schema of the policy cannot see of plans, windows and rotations. */
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { durationText } from '#schema/parse.ts';
import type { KeySetPolicy, Policy } from '#schema/policy.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import { EXPEDITED_PLAN, planFaults, resolvePlan } from './plan.ts';
import { checkWindow } from './window.ts';

function refuse(key: string, why: string): never {
  throw new CroupierError('config.invalid', `policy: ${key}: ${why}`);
}

function checkPlanOf(policy: Policy, name: string, plan: RolloutPlan): void {
  const key = `rollouts.plans.${name}`;
  if (name === EXPEDITED_PLAN) refuse(key, 'the name belongs to rollouts after a compromise; choose another');
  const [fault] = planFaults(plan);
  if (fault !== undefined) refuse(key, fault);
  for (const { name: wave, share } of plan.waves) {
    const named = share.by === 'selector' ? (share.selector.class ?? []) : [];
    const unknown = named.find((entry) => !Object.hasOwn(policy.classes, entry));
    if (unknown !== undefined)
      refuse(key, `the wave ${wave} selects the class ${unknown}, which the policy does not have`);
  }
}

function checkRotation(policy: Policy, name: string, { cryptoperiod, rotation }: KeySetPolicy): void {
  const key = `keySets.${name}.rotation`;
  if (rotation.lead !== undefined && rotation.lead >= cryptoperiod)
    refuse(`${key}.lead`, `${durationText(rotation.lead)} before the end is due from the first day`);
  try {
    resolvePlan(policy, rotation.plan);
  } catch (error) {
    refuse(`${key}.plan`, errorMessage(error));
  }
}

/** Errors: `config.invalid`, naming the key. */
export function checkRolloutPolicy(policy: Policy): void {
  for (const [site, window] of Object.entries(policy.rollouts.windows)) checkWindow(site, window);
  for (const name of Object.keys(policy.rollouts.plans)) checkPlanOf(policy, name, resolvePlan(policy, name));
  for (const [name, keySet] of Object.entries(policy.keySets)) checkRotation(policy, name, keySet);
}
