/** Commands on rollouts that are under way. */
import { CroupierError } from '#schema/errors.ts';
import { ApprovalId, RolloutId, type DeviceId } from '#schema/ids.ts';
import type { Json } from '#schema/runtime/canonical-json.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Authority, Command } from '#gateway/operators/command.ts';
import type { RolloutOutcome, TargetsOutcome } from '#gateway/ports/store/rollouts.ts';
import type {
  Campaign,
  KeySetRecord,
  RolloutRecord,
  RolloutTarget,
  TargetTally,
} from '#gateway/ports/store/records.ts';
import { ended, isOnItsWay, newRollout, refuseStart, startDetails } from './begin.ts';
import { rolloutEvent } from './decide.ts';
import {
  decideAbort,
  decideExempt,
  decidePause,
  decideResume,
  decideRetry,
  decideSignOff,
  type Word,
} from './decide-operator.ts';
import type { PlannedChange } from './plan.ts';
import { checkedPlan, planned, rivalsOf, type PlanningPorts } from './planning.ts';

export interface RolloutCommandPorts extends PlanningPorts {
  /** Devices are due and a rollout may move on. */
  readonly onChange: () => void;
  /** A person has moved it: for those who look on. */
  readonly onMoved?: (rollout: RolloutRecord) => void;
}

type RolloutDecision = (
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  tallies: readonly TargetTally[],
  word: Word,
) => RolloutOutcome;

const unknown = (id: RolloutId): CroupierError => new CroupierError('rollout.not-found', `there is no rollout ${id}`);

/** Decides and stores. Errors: `rollout.not-found`, those of the decision. */
export async function moveRollout(
  ports: RolloutCommandPorts,
  id: RolloutId,
  authority: Pick<Authority, 'actor' | 'approval'>,
  decide: RolloutDecision,
): Promise<Json> {
  const now = ports.clock.now();
  const outcome = await ports.store.advanceRollout(id, now, (rollout, keySet, tallies) =>
    rollout === undefined
      ? { kind: 'refuse', error: unknown(id), audit: [] }
      : decide(rollout, keySet, tallies, { actor: authority.actor, approval: authority.approval, now }),
  );
  if (outcome.kind === 'refuse') throw outcome.error;
  if (outcome.kind === 'advance') ports.onMoved?.(outcome.rollout);
  ports.onChange();
  return { rollout: id, state: outcome.kind === 'advance' ? outcome.rollout.state : 'unchanged' };
}

export function pauseCommand(ports: RolloutCommandPorts): Command<'rollout.pause'> {
  return {
    summary: ({ rollout, reason }) => `pause rollout ${rollout}: ${reason}`,
    execute: ({ rollout, reason }, authority) =>
      moveRollout(ports, rollout, authority, (current, _, __, word) => decidePause(current, reason, word)),
  };
}

/** A pause that is not the one which two people agreed to end. */
function pausedAnew(rollout: RolloutRecord, { actor }: Word): RolloutOutcome {
  const code = 'rollout.state-refused';
  const message = `rollout ${rollout.id} was paused anew since its resumption was asked for; look at it and ask again`;
  return {
    kind: 'refuse',
    error: new CroupierError(code, message),
    audit: [rolloutEvent(rollout, 'rollout.resume', actor, {}, { outcome: 'denied', code })],
  };
}

export function resumeCommand(ports: RolloutCommandPorts): Command<'rollout.resume'> {
  const pauseOf = async (id: RolloutId): Promise<string> => {
    const found = await ports.store.rollout(id);
    if (found === undefined) throw unknown(id);
    const { pause } = found.rollout;
    if (pause === undefined) throw new CroupierError('rollout.state-refused', `rollout ${id} is not paused`);
    return pause.at.toISOString();
  };
  return {
    complete: async (request) => ({ ...request, pausedAt: request.pausedAt ?? (await pauseOf(request.rollout)) }),
    summary: ({ rollout, reason }) => `resume rollout ${rollout}${reason === undefined ? '' : `: ${reason}`}`,
    check: async ({ rollout }) => {
      await pauseOf(rollout);
    },
    execute: ({ rollout, reason, pausedAt }, authority) =>
      moveRollout(ports, rollout, authority, (current, _, __, word) =>
        pausedAt !== undefined && current.pause !== undefined && current.pause.at.toISOString() !== pausedAt
          ? pausedAnew(current, word)
          : decideResume(current, word, reason),
      ),
  };
}

export function abortCommand(ports: RolloutCommandPorts): Command<'rollout.abort'> {
  return {
    summary: ({ rollout, reason }) => `abort rollout ${rollout}: ${reason}`,
    execute: ({ rollout, reason }, authority) =>
      moveRollout(ports, rollout, authority, (current, keySet, _, word) => decideAbort(current, keySet, reason, word)),
  };
}

type TargetDecision = (rollout: RolloutRecord, targets: readonly RolloutTarget[], word: Word) => TargetsOutcome;
type Chosen = Parameters<RolloutCommandPorts['store']['changeTargets']>[2];

async function changeTargets(
  ports: RolloutCommandPorts,
  id: RolloutId,
  chosen: Chosen,
  authority: Authority,
  decide: TargetDecision,
): Promise<Json> {
  const now = ports.clock.now();
  const word: Word = { actor: authority.actor, approval: authority.approval, now };
  const outcome = await ports.store.changeTargets(id, now, chosen, (rollout, targets) =>
    rollout === undefined ? { kind: 'refuse', error: unknown(id), audit: [] } : decide(rollout, targets, word),
  );
  if (outcome.kind === 'refuse') throw outcome.error;
  ports.onChange();
  return { rollout: id, devices: outcome.targets.length };
}

const named = (devices: readonly DeviceId[]): string =>
  devices.length <= 3 ? devices.join(', ') : `${devices.slice(0, 3).join(', ')} and ${devices.length - 3} more`;

export function retryCommand(ports: RolloutCommandPorts): Command<'rollout.retry'> {
  return {
    summary: ({ rollout, devices }) =>
      `begin anew with ${devices === undefined ? 'all failed targets' : named(devices)} of rollout ${rollout}`,
    execute: ({ rollout, devices }, authority) => {
      const chosen: Chosen = devices === undefined ? { states: ['refused', 'stalled', 'overdue'] } : { devices };
      return changeTargets(ports, rollout, chosen, authority, (current, targets, word) =>
        decideRetry(current, devices ?? [], targets, word),
      );
    },
  };
}

export function exemptCommand(ports: RolloutCommandPorts): Command<'rollout.exempt'> {
  return {
    summary: ({ rollout, devices, reason }) => `exempt ${named(devices)} from rollout ${rollout}: ${reason}`,
    execute: ({ rollout, devices, reason }, authority) =>
      changeTargets(ports, rollout, { devices }, authority, (current, targets, word) =>
        decideExempt(current, devices, targets, reason, word),
      ),
  };
}

export function signOffCommand(ports: RolloutCommandPorts): Command<'rollout.sign-off'> {
  return {
    summary: ({ rollout, devices, reason }) => `sign off ${named(devices)} in rollout ${rollout}: ${reason}`,
    check: async ({ rollout: id }) => {
      const found = await ports.store.rollout(id);
      if (found === undefined) throw unknown(id);
      if (found.rollout.activatedAt === undefined || found.rollout.finishedAt !== undefined)
        throw new CroupierError(
          'rollout.state-refused',
          `rollout ${id} is ${found.rollout.state}; it has no stragglers`,
        );
    },
    execute: ({ rollout, devices, reason }, authority) => {
      if (authority.approval === undefined) throw new CroupierError('approval.required');
      const approval = ApprovalId.parse(authority.approval.id);
      return changeTargets(ports, rollout, { devices }, authority, (current, targets, word) =>
        decideSignOff(current, devices, targets, reason, approval, word),
      );
    },
  };
}

export interface CampaignCommandPorts extends RolloutCommandPorts {
  readonly random: Random;
}

type CampaignRequest = Parameters<Command<'enrolment.campaign'>['execute']>[0];

/** What a campaign would roll out. */
export function campaignChange(
  request: Pick<CampaignRequest, 'cause' | 'selector' | 'issuer' | 'before'>,
  now: Date,
): Extract<PlannedChange, { kind: 're-enrolment' }> {
  const { cause, selector, issuer, before } = request;
  const campaign: Campaign = { reason: cause, selector, issuer, before: before === undefined ? now : new Date(before) };
  return { kind: 're-enrolment', campaign };
}

const SAME = 'the same campaign is on its way already; let it end, or abort it first';

export function campaignCommand(ports: CampaignCommandPorts): Command<'enrolment.campaign'> {
  const { store, clock, random } = ports;
  return {
    complete: async (request) => {
      const before = request.before ?? clock.now().toISOString();
      const { plan, planSha256 } = planned(ports, campaignChange({ ...request, before }, clock.now()), request);
      return { ...request, before, plan: plan.name, planSha256 };
    },
    summary: ({ cause, reason, before, plan }) =>
      `re-enrol devices with certificates from before ${before ?? 'now'} (${cause}) by plan ${plan ?? 'default'}: ${reason}`,
    check: async (request) => {
      await checkedPlan(ports, campaignChange(request, clock.now()), request);
    },
    execute: async (request, authority) => {
      const at = clock.now();
      const change = campaignChange(request, at);
      const terms = await checkedPlan(ports, change, request);
      const id = RolloutId.parse(random.uuid());
      const { actor, approval } = authority;
      const start = { ...terms, rollout: id, actor, approval, reason: request.reason, at };
      const outcome = await store.startRollout(undefined, at, ({ open }) => {
        const rivals = rivalsOf(change, open);
        const rival = rivals.find(isOnItsWay);
        const object = { type: 'rollout', id };
        if (rival !== undefined)
          return refuseStart('enrolment.campaign', object, start, 'rollout.under-way', `${SAME} (${rival.id})`);
        const rollout = newRollout(change, start);
        const rest = authority.approval === undefined ? {} : { approval: authority.approval };
        const event = rolloutEvent(rollout, 'enrolment.campaign', authority.actor, startDetails(start), rest);
        const others = rivals.map((one) => ended(one, 'superseded', at));
        const ends = others.map((one) => rolloutEvent(one, 'rollout.superseded', authority.actor, { by: id }));
        const audit = [event, ...ends];
        return { kind: 'start', rollout, version: undefined, bundle: undefined, versions: [], others, audit };
      });
      if (outcome.kind === 'refuse') throw outcome.error;
      ports.onChange();
      return { rollout: id, plan: terms.plan.name };
    },
  };
}
