/** Rollouts, their progress and their targets. */
import { z } from 'zod';
import { DeviceId, KeySetName, KeyVersionNumber, RolloutId, Timestamp } from '../../ids.ts';
import { PageLimit, pageOf, QueryFlag } from './common.ts';

export const ROLLOUT_STATES = [
  'distributing',
  'ready',
  'active',
  'retiring',
  'retired',
  'destroying',
  'destroyed',
] as const;
export const RolloutStateName = z.enum(ROLLOUT_STATES);
export type RolloutStateName = z.infer<typeof RolloutStateName>;

export const TARGET_STATES = [
  'pending',
  'offered',
  'stored',
  'active',
  'old-retired',
  'old-destroyed',
  'refused',
  'stalled',
  'superseded',
  'quarantined',
  'exempt',
] as const;
export const TargetStateName = z.enum(TARGET_STATES);
export type TargetStateName = z.infer<typeof TargetStateName>;

export const RolloutSummaryView = z.object({
  id: RolloutId,
  kind: z.literal('key-version'),
  keySet: KeySetName,
  fromVersion: KeyVersionNumber,
  toVersion: KeyVersionNumber,
  state: RolloutStateName,
  requestedBy: z.string(),
  createdAt: Timestamp,
  activatedAt: Timestamp.nullable(),
  retiredAt: Timestamp.nullable(),
  finishedAt: Timestamp.nullable(),
});
export type RolloutSummaryView = z.infer<typeof RolloutSummaryView>;

export const RolloutProgressView = z.object({
  total: z.int(),
  /** Targets by state; states without targets are left out. */
  byState: z.partialRecord(TargetStateName, z.int()),
  /** Connected targets that have not stored the version. */
  reachableUnstored: z.int(),
  /** Services, connected or not, that have not stored it. */
  servicesUnstored: z.int(),
  /** Targets not connected that are behind the present goal: the catch-up. */
  offlineBehind: z.int(),
  /** Devices that still use, and that still hold, the old version. */
  oldInUse: z.int(),
  oldHeld: z.int(),
});
export type RolloutProgressView = z.infer<typeof RolloutProgressView>;

export const RolloutView = RolloutSummaryView.extend({
  progress: RolloutProgressView,
  /** What activation waits for; null when nothing holds it, or when it is past. */
  hold: z.string().nullable(),
});
export type RolloutView = z.infer<typeof RolloutView>;

export const RolloutTargetView = z.object({
  device: DeviceId,
  wave: z.int(),
  state: TargetStateName,
  code: z.string().nullable(),
  deferredUntil: Timestamp.nullable(),
  offeredAt: Timestamp.nullable(),
  changedAt: Timestamp,
  connected: z.boolean(),
  lastSeenAt: Timestamp.nullable(),
});
export type RolloutTargetView = z.infer<typeof RolloutTargetView>;

export const RolloutQuery = z.object({ open: QueryFlag.optional(), limit: PageLimit });
export const RolloutList = z.object({ items: z.array(RolloutSummaryView) });

export const TargetQuery = z.object({
  state: TargetStateName.optional(),
  after: DeviceId.optional(),
  limit: PageLimit,
});
export const TargetPage = pageOf(RolloutTargetView);
export type TargetPage = z.infer<typeof TargetPage>;
