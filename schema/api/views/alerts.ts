/** Alerts: what somebody should look at. */
import { z } from 'zod';
import { ALERT_SEVERITIES, AlertSeverity } from '../../audit.ts';
import { Timestamp } from '../../ids.ts';
import { AlertId } from '../commands.ts';
import { PageLimit, QueryFlag } from './common.ts';

export const AlertView = z.object({
  id: AlertId,
  /** What happened (docs/errors.md says what to do). */
  code: z.string(),
  severity: AlertSeverity,
  device: z.string().nullable(),
  rollout: z.string().nullable(),
  keySet: z.string().nullable(),
  message: z.string(),
  /** How often since it was raised, and the audit records of the first and last time. */
  occurrences: z.int(),
  firstSeq: z.int(),
  lastSeq: z.int(),
  raisedAt: Timestamp,
  lastAt: Timestamp,
  acknowledgedAt: Timestamp.nullable(),
  acknowledgedBy: z.string().nullable(),
});
export type AlertView = z.infer<typeof AlertView>;

export const AlertQuery = z.object({
  /** `true`: only those that nobody has acknowledged; `false`: only the others. */
  open: QueryFlag.optional(),
  /** Only older ones. */
  after: z.coerce.number().pipe(AlertId).optional(),
  limit: PageLimit,
});
export const AlertPage = z.object({ items: z.array(AlertView), next: AlertId.nullable() });
export type AlertPage = z.infer<typeof AlertPage>;

/** Open alerts by severity. */
export const AlertCounts = z.record(z.enum(ALERT_SEVERITIES), z.int());
