/** Records of rollouts, their targets and their plans to their views. Pure. */
import { PLANNED_NAMES } from '#schema/api/views.ts';
import type {
  GatewayEvent,
  HistoryStepView,
  HoldingDeviceView,
  RolloutHoldView,
  RolloutPlanView,
  RolloutProgressView,
  RolloutSummaryView,
  RolloutTargetView,
  RolloutView,
  WaveProgressView,
} from '#schema/api/views.ts';
import type { HistoryStep, RolloutDetail, StepWord, TargetDetail } from '#gateway/ports/store/rollouts.ts';
import type { Campaign, RolloutRecord } from '#gateway/ports/store/records.ts';
import type { DryRun } from '#gateway/rollout/dry-run.ts';
import { holdsOf, type Hold } from '#gateway/rollout/gates.ts';
import { progressOf, type RolloutProgress, type WaveProgress } from '#gateway/rollout/progress.ts';
import { instant, instantOrNull } from './encode.ts';

function campaignView({ reason, selector, issuer, before }: Campaign): NonNullable<RolloutSummaryView['campaign']> {
  return { cause: reason, selector, issuer: issuer ?? null, before: instant(before) };
}

function subjectOf(
  rollout: RolloutRecord,
): Pick<RolloutSummaryView, 'kind' | 'keySet' | 'fromVersion' | 'toVersion' | 'campaign'> {
  const { kind } = rollout;
  switch (rollout.kind) {
    case 'key-version': {
      const { keySet, fromVersion, toVersion } = rollout;
      return { kind, keySet, fromVersion, toVersion, campaign: null };
    }
    case 'trust-bundle': {
      const { fromVersion, toVersion } = rollout;
      return { kind, keySet: null, fromVersion, toVersion, campaign: null };
    }
    case 're-enrolment':
      return { kind, keySet: null, fromVersion: null, toVersion: null, campaign: campaignView(rollout.campaign) };
  }
}

const waveName = ({ plan, wave }: Pick<RolloutRecord, 'plan' | 'wave'>): string => plan.waves[wave]?.name ?? '';

export function rolloutSummaryView(rollout: RolloutRecord): RolloutSummaryView {
  const { id, pause, plan, planSha256, state, requestedBy } = rollout;
  return {
    id,
    ...subjectOf(rollout),
    state,
    pause: pause === undefined ? null : { at: instant(pause.at), by: pause.by, code: pause.code, reason: pause.reason },
    plan: plan.name,
    planSha256,
    startAt: instant(rollout.startAt),
    preparedAt: instantOrNull(rollout.preparedAt),
    wave: {
      index: rollout.wave,
      of: plan.waves.length,
      name: waveName(rollout),
      openedAt: instantOrNull(rollout.waveOpenedAt),
      settledAt: instantOrNull(rollout.waveSettledAt),
    },
    requestedBy,
    createdAt: instant(rollout.createdAt),
    activatedAt: instantOrNull(rollout.activatedAt),
    retiredAt: instantOrNull(rollout.retiredAt),
    stragglersAt: instantOrNull(rollout.stragglersAt),
    finishedAt: instantOrNull(rollout.finishedAt),
  };
}

/** What those who look on are told. */
export function rolloutChanged(rollout: RolloutRecord): GatewayEvent {
  const { id, state, pause } = rollout;
  return { type: 'rollout', rollout: id, state, wave: waveName(rollout), paused: pause !== undefined };
}

function waveState(rollout: RolloutRecord, wave: number): WaveProgressView['state'] {
  if (rollout.waveOpenedAt === undefined || wave > rollout.wave) return 'to-come';
  const isBehind = wave < rollout.wave || rollout.state === 'ready' || rollout.activatedAt !== undefined;
  if (isBehind) return 'passed';
  return rollout.waveSettledAt === undefined ? 'open' : 'soaking';
}

function waveView(rollout: RolloutRecord, progress: WaveProgress): WaveProgressView {
  const soakMs = rollout.plan.waves[progress.wave]?.soakMs ?? 0;
  const state = waveState(rollout, progress.wave);
  const settledAt = state === 'soaking' ? rollout.waveSettledAt : undefined;
  return {
    ...progress,
    state,
    soakMs,
    soakEndsAt: settledAt === undefined ? null : instant(new Date(settledAt.getTime() + soakMs)),
  };
}

function progressView(rollout: RolloutRecord, progress: RolloutProgress): RolloutProgressView {
  return {
    ...progress,
    byState: { ...progress.byState },
    waves: progress.waves.map((wave) => waveView(rollout, wave)),
  };
}

function holdingDeviceView(target: TargetDetail): HoldingDeviceView {
  const { device, state, code, connected } = target;
  return {
    device,
    state,
    code: code ?? null,
    connected,
    lastSeenAt: instantOrNull(target.lastSeenAt),
    deferredUntil: instantOrNull(target.deferredUntil),
  };
}

/** A hold with the devices behind it. */
export function holdView(hold: Hold, devices: readonly TargetDetail[]): RolloutHoldView {
  const { reason, message, targets, until } = hold;
  return { reason, message, targets, until: instantOrNull(until), devices: devices.map(holdingDeviceView) };
}

/** What holds a rollout back now. */
export function holdsAt({ rollout, tallies }: RolloutDetail, now: Date): readonly Hold[] {
  return holdsOf(rollout, progressOf(rollout, tallies), now);
}

export function rolloutView({ rollout, tallies }: RolloutDetail, holds: readonly RolloutHoldView[]): RolloutView {
  return {
    ...rolloutSummaryView(rollout),
    terms: rollout.plan,
    progress: progressView(rollout, progressOf(rollout, tallies)),
    holds: [...holds],
    hold: holds[0]?.message ?? null,
  };
}

export function rolloutTargetView(target: TargetDetail): RolloutTargetView {
  return {
    device: target.device,
    wave: target.wave,
    position: target.position,
    service: target.service,
    state: target.state,
    code: target.code ?? null,
    reason: target.reason ?? null,
    deferredUntil: instantOrNull(target.deferredUntil),
    offeredAt: instantOrNull(target.offeredAt),
    attempts: target.attempts,
    changedAt: instant(target.changedAt),
    old: target.old,
    signedOff: target.signedOff ?? null,
    connected: target.connected,
    lastSeenAt: instantOrNull(target.lastSeenAt),
  };
}

const wordView = ({ by, approval, approvedBy, reason }: StepWord) => ({
  by,
  approval: approval ?? null,
  approvedBy: [...approvedBy],
  reason: reason ?? null,
});

export function historyStepView(step: HistoryStep): HistoryStepView {
  const { id, rollout } = step;
  const entry = { id, rollout, at: instant(step.at), code: step.code ?? null };
  if (step.kind === 'rollout')
    return { kind: step.kind, ...entry, step: step.step, ...wordView(step.word), details: step.details };
  const { kind, device, from, to, word } = step;
  const said = word === undefined ? null : { step: word.step, ...wordView(word) };
  return { kind, ...entry, device, from: from ?? null, to, word: said };
}

/** A dry run with the devices that it names: the first ones of each list, or all. `before` is that of a campaign. */
export function rolloutPlanView(run: DryRun, before: string | undefined, all: boolean): RolloutPlanView {
  const most = all ? Infinity : PLANNED_NAMES;
  const first = <Item>(items: readonly Item[]): Item[] => items.slice(0, most);
  const lists = [
    run.offline,
    ...run.waves.map(({ members }) => members),
    ...run.leftBehind.map(({ devices }) => devices),
  ];
  return {
    change: run.change,
    what: run.what,
    plan: run.plan,
    planSha256: run.planSha256,
    before: before ?? null,
    startAt: run.startAt,
    targets: run.targets,
    connected: run.connected,
    waves: run.waves.map((wave) => ({ ...wave, members: first(wave.members) })),
    gates: [...run.gates],
    offline: first(run.offline),
    leftBehind: run.leftBehind.map(({ why, devices }) => ({ why, count: devices.length, devices: first(devices) })),
    complete: lists.every(({ length }) => length <= most),
    errors: [...run.errors],
    warnings: [...run.warnings],
  };
}
