/** Rollouts, their plans, their progress and their targets. */
import { z } from 'zod';
import { ApprovalId, DeviceId, KeySetName, RolloutId, Sha256, Timestamp } from '../../ids.ts';
import { RolloutStepName, StepDetails, TargetWordName } from '../../rollout-history.ts';
import { PlanName, RolloutPlan, Selector } from '../../rollout-plan.ts';
import { OLD_VERSION_STATES, ROLLOUT_STATES, TARGET_STATES } from '../../rollout-states.ts';
import { CampaignCause, EnrolmentCampaign, KeysetRotate, TrustPublish } from '../commands.ts';
import { PageLimit, pageOf, QueryFlag } from './common.ts';

export const ROLLOUT_KINDS = ['key-version', 'trust-bundle', 're-enrolment'] as const;
export const RolloutKindName = z.enum(ROLLOUT_KINDS);
export type RolloutKindName = z.infer<typeof RolloutKindName>;

export const RolloutStateName = z.enum(ROLLOUT_STATES);
export type RolloutStateName = z.infer<typeof RolloutStateName>;

export const TargetStateName = z.enum(TARGET_STATES);
export type TargetStateName = z.infer<typeof TargetStateName>;

export const OldVersionStateName = z.enum(OLD_VERSION_STATES);
export type OldVersionStateName = z.infer<typeof OldVersionStateName>;

export const CampaignView = z.object({
  cause: CampaignCause,
  selector: Selector,
  /** Key label of the CA whose certificates are replaced; null for any. */
  issuer: z.string().nullable(),
  /** Certificates issued before are replaced. */
  before: Timestamp,
});
export type CampaignView = z.infer<typeof CampaignView>;

export const RolloutPauseView = z.object({
  at: Timestamp,
  /** An operator, or `the gateway` when it paused by itself. */
  by: z.string(),
  code: z.string(),
  reason: z.string(),
});

export const RolloutSummaryView = z.object({
  id: RolloutId,
  kind: RolloutKindName,
  /** Of a key version. */
  keySet: KeySetName.nullable(),
  /** Numbers of key versions or trust bundles; null for a re-enrolment. */
  fromVersion: z.int().nullable(),
  toVersion: z.int().nullable(),
  /** Of a re-enrolment. */
  campaign: CampaignView.nullable(),
  state: RolloutStateName,
  /** Null while it is not paused. */
  pause: RolloutPauseView.nullable(),
  /** Name of its plan. */
  plan: PlanName,
  /** What was approved. */
  planSha256: Sha256,
  startAt: Timestamp,
  /** When its targets were recorded. */
  preparedAt: Timestamp.nullable(),
  /** The wave that is open, of so many. */
  wave: z.object({
    index: z.int(),
    of: z.int(),
    name: z.string(),
    openedAt: Timestamp.nullable(),
    /** Since when it soaks. */
    settledAt: Timestamp.nullable(),
  }),
  requestedBy: z.string(),
  createdAt: Timestamp,
  activatedAt: Timestamp.nullable(),
  retiredAt: Timestamp.nullable(),
  /** When the sign-off of its stragglers was proposed. */
  stragglersAt: Timestamp.nullable(),
  finishedAt: Timestamp.nullable(),
});
export type RolloutSummaryView = z.infer<typeof RolloutSummaryView>;

export const WaveProgressView = z.object({
  wave: z.int(),
  name: z.string(),
  state: z.enum(['to-come', 'open', 'soaking', 'passed']),
  /** Targets that are not left out, and where they stand. */
  total: z.int(),
  done: z.int(),
  failed: z.int(),
  /** Not answered yet: connected, and not connected. */
  waiting: z.int(),
  offline: z.int(),
  /** Services among the last three. */
  servicesBehind: z.int(),
  soakMs: z.number(),
  /** When its soak ends; null unless it soaks. */
  soakEndsAt: Timestamp.nullable(),
});
export type WaveProgressView = z.infer<typeof WaveProgressView>;

export const RolloutProgressView = z.object({
  total: z.int(),
  /** Targets by state; states without targets are left out. */
  byState: z.partialRecord(TargetStateName, z.int()),
  waves: z.array(WaveProgressView),
  /** Connected targets that have not stored the change, and that have. */
  reachableUnstored: z.int(),
  reachableStored: z.int(),
  /** Connected targets that do not use the change yet, and have not failed to. */
  reachableUnused: z.int(),
  /** Services, connected or not, that have not stored it. */
  servicesUnstored: z.int(),
  /** Targets not connected that are behind the present goal: the catch-up. */
  offlineBehind: z.int(),
  /** Targets that use the change, do not in time although they were told to, and put it off since they are busy. */
  using: z.int(),
  overdue: z.int(),
  deferred: z.int(),
  /** Devices that still use, and that still hold, an old version; those signed off are not among them. */
  oldInUse: z.int(),
  oldHeld: z.int(),
  signedOff: z.int(),
});
export type RolloutProgressView = z.infer<typeof RolloutProgressView>;

/** What a hold can be for. */
export const HoldReasonName = z.enum([
  'preparing',
  'start-time',
  'paused',
  'wave-unproven',
  'wave-waiting',
  'wave-vanished',
  'wave-failing',
  'soak',
  'nothing-stored',
  'services',
  'quorum',
  'activation',
  'deferred',
  'old-in-use',
  'old-held',
  'behind',
]);
export type HoldReasonName = z.infer<typeof HoldReasonName>;

/** Devices that a hold names. */
export const HELD_BY = 20;

export const HoldingDeviceView = z.object({
  device: DeviceId,
  state: TargetStateName,
  code: z.string().nullable(),
  connected: z.boolean(),
  lastSeenAt: Timestamp.nullable(),
  deferredUntil: Timestamp.nullable(),
});
export type HoldingDeviceView = z.infer<typeof HoldingDeviceView>;

export const RolloutHoldView = z.object({
  reason: HoldReasonName,
  message: z.string(),
  /** How many targets. */
  targets: z.int(),
  /** When it ends by itself, if that is known. */
  until: Timestamp.nullable(),
  /** The first of the targets, by id; `GET /v1/rollouts/{id}/targets` lists the rest. */
  devices: z.array(HoldingDeviceView),
});
export type RolloutHoldView = z.infer<typeof RolloutHoldView>;

export const RolloutView = RolloutSummaryView.extend({
  /** The plan as it was approved. */
  terms: RolloutPlan,
  progress: RolloutProgressView,
  /** Everything that holds it back now, the most telling first. */
  holds: z.array(RolloutHoldView),
  /** Message of the first; null when nothing holds it. */
  hold: z.string().nullable(),
});
export type RolloutView = z.infer<typeof RolloutView>;

export const RolloutTargetView = z.object({
  device: DeviceId,
  wave: z.int(),
  /** Place in its wave, from 0. */
  position: z.int(),
  /** Must have the change before it is activated. */
  service: z.boolean(),
  state: TargetStateName,
  code: z.string().nullable(),
  /** Why a person exempted it or signed it off. */
  reason: z.string().nullable(),
  deferredUntil: Timestamp.nullable(),
  offeredAt: Timestamp.nullable(),
  /** How often the change was sent since the device last answered. */
  attempts: z.int(),
  changedAt: Timestamp,
  old: OldVersionStateName,
  /** Approval by which it was signed off. */
  signedOff: ApprovalId.nullable(),
  connected: z.boolean(),
  lastSeenAt: Timestamp.nullable(),
});
export type RolloutTargetView = z.infer<typeof RolloutTargetView>;

export const RolloutQuery = z.object({ open: QueryFlag.optional(), limit: PageLimit });
export const RolloutList = z.object({ items: z.array(RolloutSummaryView) });

export const TargetQuery = z.object({
  state: TargetStateName.optional(),
  wave: z.coerce.number().int().min(0).max(50).optional(),
  online: QueryFlag.optional(),
  service: QueryFlag.optional(),
  deferred: QueryFlag.optional(),
  old: OldVersionStateName.optional(),
  after: DeviceId.optional(),
  limit: PageLimit,
});
export const TargetPage = pageOf(RolloutTargetView);
export type TargetPage = z.infer<typeof TargetPage>;

/** On whose word something was done. */
const stepWord = {
  /** An operator, or `the gateway` when it did so by itself. */
  by: z.string(),
  approval: ApprovalId.nullable(),
  approvedBy: z.array(z.string()),
  reason: z.string().nullable(),
};
const historyEntry = { id: z.int(), rollout: RolloutId, at: Timestamp, code: z.string().nullable() };

/** What became of the rollout itself. */
export const RolloutStepView = z.object({
  kind: z.literal('rollout'),
  ...historyEntry,
  step: RolloutStepName,
  ...stepWord,
  details: StepDetails,
});
export type RolloutStepView = z.infer<typeof RolloutStepView>;

/** What became of one target. */
export const TargetStepView = z.object({
  kind: z.literal('target'),
  ...historyEntry,
  device: DeviceId,
  /** Null where it became a target; equal to `to` where only what is known of it changed. */
  from: TargetStateName.nullable(),
  to: TargetStateName,
  /** Null where the device proved it, or the gateway found it out. */
  word: z.object({ step: TargetWordName, ...stepWord }).nullable(),
});
export type TargetStepView = z.infer<typeof TargetStepView>;

export const HistoryStepView = z.discriminatedUnion('kind', [RolloutStepView, TargetStepView]);
export type HistoryStepView = z.infer<typeof HistoryStepView>;

const historyPage = {
  /** Only steps after the one of this number. */
  after: z.coerce.number().int().min(0).default(0),
  limit: PageLimit,
};
export const RolloutHistoryQuery = z.object({
  /** The steps of its targets, too. */
  targets: QueryFlag.default(false),
  /** The steps of this target alone. */
  device: DeviceId.optional(),
  ...historyPage,
});
export const DeviceHistoryQuery = z.object(historyPage);
export const HistoryPage = z.object({ items: z.array(HistoryStepView), next: z.int().nullable() });
export type HistoryPage = z.infer<typeof HistoryPage>;

/** Devices that a plan names in each of its lists, unless all are wanted. */
export const PLANNED_NAMES = 100;

/** What would be rolled out. */
export const RolloutPlanChange = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('key-version'), keySet: KeysetRotate.shape.keySet }),
  z.strictObject({ kind: z.literal('trust-bundle'), anchors: TrustPublish.shape.anchors }),
  z.strictObject({
    kind: z.literal('re-enrolment'),
    cause: CampaignCause,
    selector: EnrolmentCampaign.shape.selector,
    issuer: EnrolmentCampaign.shape.issuer,
    before: EnrolmentCampaign.shape.before,
  }),
]);
export type RolloutPlanChange = z.infer<typeof RolloutPlanChange>;

export const RolloutPlanRequest = z.strictObject({
  change: RolloutPlanChange,
  plan: KeysetRotate.shape.plan,
  startAt: KeysetRotate.shape.startAt,
  /** Name every device, however many there are. */
  all: z.boolean().default(false),
});
export type RolloutPlanRequest = z.infer<typeof RolloutPlanRequest>;

export const PlannedWaveView = z.object({
  name: z.string(),
  /** Which targets it takes, in words. */
  share: z.string(),
  soakMs: z.number(),
  targets: z.int(),
  connected: z.int(),
  services: z.int(),
  /** The earliest times at which it can open, and at which the first of its targets can be begun with; null for never. */
  opensAt: Timestamp.nullable(),
  beginsAt: Timestamp.nullable(),
  /** In the order in which they are begun with. */
  members: z.array(z.object({ device: DeviceId, connected: z.boolean(), lastSeenAt: Timestamp.nullable() })),
});
export type PlannedWaveView = z.infer<typeof PlannedWaveView>;

/** What a rollout would do if it were started. */
export const RolloutPlanView = z.object({
  change: RolloutKindName,
  /** What is rolled out, in words. */
  what: z.string(),
  plan: RolloutPlan,
  /** What an approval binds to. */
  planSha256: Sha256,
  /** Of a re-enrolment: certificates issued before are replaced. It is bound, too, so the command has to name it. */
  before: Timestamp.nullable(),
  startAt: Timestamp,
  targets: z.int(),
  connected: z.int(),
  waves: z.array(PlannedWaveView),
  /** What has to be true before it goes on, in words. */
  gates: z.array(z.string()),
  /** Targets that are not connected, the longest absent first. */
  offline: z.array(z.object({ device: DeviceId, wave: z.string(), since: Timestamp.nullable() })),
  /** Devices that the change does not reach as things stand, by reason; `count` of them. */
  leftBehind: z.array(z.object({ why: z.string(), count: z.int(), devices: z.array(DeviceId) })),
  /** Whether the lists name everybody. */
  complete: z.boolean(),
  /** With any of these it cannot be started. */
  errors: z.array(z.string()),
  warnings: z.array(z.string()),
});
export type RolloutPlanView = z.infer<typeof RolloutPlanView>;
