/** From what somebody asks for to a plan that can be shown, approved and started. */
import { CroupierError } from '#schema/errors.ts';
import type { Sha256 } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { Campaign, RolloutRecord } from '#gateway/ports/store/records.ts';
import { dryRunning, type DryRun } from './dry-run.ts';
import { planHash, resolvePlan, type PlannedChange } from './plan.ts';
import { devicesOf } from './prepare.ts';
import { selectorOf, targetsAmong } from './targets.ts';
import { examining, requireSound } from './waves.ts';
import { inTurns } from './work.ts';

export interface PlanningPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly policy: () => Policy;
}

/** As a command has it: what is not said is the default. */
export interface AskedTerms {
  readonly plan?: string | undefined;
  readonly planSha256?: Sha256 | undefined;
  /** RFC 3339. */
  readonly startAt?: string | undefined;
}

export interface Planned {
  readonly plan: RolloutPlan;
  readonly planSha256: Sha256;
  readonly startAt: Date;
}

const OPEN_LIMIT = 1_000;

/** Errors: `rollout.plan-not-found`, `rollout.plan-changed` when the requester has seen another plan. */
export function planned(
  ports: Pick<PlanningPorts, 'policy' | 'clock'>,
  change: PlannedChange,
  asked: AskedTerms,
): Planned {
  const policy = ports.policy();
  const plan = resolvePlan(policy, asked.plan);
  const planSha256 = planHash(change, plan, policy.rollouts.windows);
  if (asked.planSha256 !== undefined && asked.planSha256 !== planSha256) {
    throw new CroupierError(
      'rollout.plan-changed',
      `plan ${plan.name} or what it carries has changed since it was looked at: ${asked.planSha256.slice(0, 12)} was asked, ${planSha256.slice(0, 12)} is there now`,
    );
  }
  const now = ports.clock.now();
  const startAt = asked.startAt === undefined ? now : new Date(asked.startAt);
  return { plan, planSha256, startAt: startAt > now ? startAt : now };
}

const reachOfCampaign = ({ selector, issuer }: Campaign): string =>
  canonicalJson({ class: selector.class, site: selector.site, labels: selector.labels, issuer });

function isAboutTheSame(rollout: RolloutRecord, change: PlannedChange): boolean {
  switch (rollout.kind) {
    case 'key-version':
      return change.kind === 'key-version' && rollout.keySet === change.keySet;
    case 'trust-bundle':
      return change.kind === 'trust-bundle';
    case 're-enrolment':
      return change.kind === 're-enrolment' && reachOfCampaign(rollout.campaign) === reachOfCampaign(change.campaign);
  }
}

/** Rollouts that have not ended and are about the same thing. */
export function rivalsOf(change: PlannedChange, open: readonly RolloutRecord[]): readonly RolloutRecord[] {
  return open.filter((rollout) => isAboutTheSame(rollout, change));
}

async function reachOf(store: Store, change: PlannedChange): Promise<Selector> {
  return selectorOf(change, change.kind === 'key-version' ? await store.keySet(change.keySet) : undefined);
}

/**
 * The plan, checked against the devices that it would reach. Errors: those of `planned`, `rollout.plan-invalid`.
 */
export async function checkedPlan(ports: PlanningPorts, change: PlannedChange, asked: AskedTerms): Promise<Planned> {
  const terms = planned(ports, change, asked);
  const selector = await reachOf(ports.store, change);
  const targets = await inTurns(targetsAmong(await devicesOf(ports.store, selector), change, selector));
  requireSound(terms.plan, await inTurns(examining(terms.plan, targets, terms.planSha256)));
  return terms;
}

/** What it would do, for people to look at. Errors: `rollout.plan-not-found`, `store.unavailable`. */
export async function planFor(ports: PlanningPorts, change: PlannedChange, asked: AskedTerms): Promise<DryRun> {
  const { plan, planSha256, startAt } = planned(ports, change, asked);
  const { store, clock } = ports;
  const request = {
    change,
    plan,
    planSha256,
    selector: await reachOf(store, change),
    devices: await devicesOf(store, {}),
    policy: ports.policy(),
    now: clock.now(),
    startAt,
    open: rivalsOf(change, await store.rollouts(true, OPEN_LIMIT)),
  };
  return inTurns(dryRunning(request));
}
