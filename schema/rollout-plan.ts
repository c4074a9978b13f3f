/** How a change reaches its targets: the plans of the policy, and the plan of one rollout as it was approved. */
import { z } from 'zod';
import { DeviceClass, SiteName } from './ids.ts';
import { Duration } from './parse.ts';

/** Which devices: every named condition must hold; an empty selector means all. */
export const Selector = z.strictObject({
  class: z.array(DeviceClass).optional(),
  site: z.array(SiteName).optional(),
  labels: z.record(z.string(), z.string()).optional(),
});
export type Selector = z.infer<typeof Selector>;

/** Whether a device is among those that a selector names. */
export function selects(
  selector: Selector,
  device: { readonly class: string; readonly site: string; readonly labels: Readonly<Record<string, string>> },
): boolean {
  if (selector.class !== undefined && !selector.class.some((name) => name === device.class)) return false;
  if (selector.site !== undefined && !selector.site.some((name) => name === device.site)) return false;
  const { labels } = selector;
  return labels === undefined || Object.entries(labels).every(([key, value]) => device.labels[key] === value);
}

const DAY = 86_400_000;
/** A pause within a rollout: no longer than a year. */
const Wait = Duration.refine((ms) => ms <= 366 * DAY, 'at most 366d');

const Fraction = z.number().min(0).max(1);
const WaveName = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'not a wave name');

/** Which targets a wave takes: exactly one way of saying it. */
const share = {
  /** Of all targets. */
  percent: z.number().gt(0).max(100).optional(),
  count: z.int().min(1).max(1_000_000).optional(),
  selector: Selector.optional(),
  /** All that no other wave takes. */
  rest: z.literal(true).optional(),
};

const oneShare = (wave: { percent?: unknown; count?: unknown; selector?: unknown; rest?: unknown }): boolean =>
  [wave.percent, wave.count, wave.selector, wave.rest].filter((value) => value !== undefined).length === 1;
const ONE_SHARE = 'needs exactly one of percent, count, selector and rest';

export const WavePolicy = z
  .strictObject({
    ...share,
    name: WaveName.optional(),
    /** How long nothing more is opened after the wave has passed. */
    soak: Wait.prefault('0s'),
  })
  .refine(oneShare, ONE_SHARE);

/** The canary among them. */
export const MOST_WAVES = 51;

export const RolloutPlanPolicy = z.strictObject({
  /** A first small wave; the same as a wave `canary` before the others. */
  canary: z
    .strictObject({ count: share.count, selector: share.selector, soak: Wait.prefault('1h') })
    .refine(oneShare, 'needs exactly one of count and selector')
    .optional(),
  waves: z
    .array(WavePolicy)
    .min(1)
    .max(MOST_WAVES - 1)
    .prefault([{ rest: true }]),
  /** Of the executed targets of a wave (those that stored the change, refused it or stalled), so many must have stored it. */
  success: Fraction.default(0.9),
  /** More failed among the executed targets than this pauses the rollout. */
  errors: Fraction.default(0.1),
  /** So many must be executed before a wave passes or the errors count. */
  minimumSample: z.int().min(1).max(1_000_000).default(1),
  /** Of the reachable targets, so many must have stored the change before it is activated. */
  quorum: Fraction.default(1),
  /** A connected target that does not answer for this long and after so many repetitions is stalled. */
  timeout: Duration.refine((ms) => ms >= 1_000 && ms <= 30 * DAY, 'between 1s and 30d').prefault('10m'),
  retries: z.int().min(0).max(100).default(3),
  /** `respect`: devices of a site with a window are changed inside it only. */
  windows: z.enum(['respect', 'ignore']).default('respect'),
  /** At the most so many targets are begun with in this time. */
  rate: z
    .strictObject({
      targets: z.int().min(1).max(1_000_000),
      per: Duration.refine((ms) => ms >= 1_000 && ms <= DAY, 'between 1s and 1d').prefault('1m'),
    })
    .optional(),
  /** What becomes of targets that are still behind so long after the activation. */
  stragglers: z
    .strictObject({
      /** `wait`: they hold up the retirement for as long as it takes. `propose`: an alert asks for their sign-off. */
      action: z.enum(['wait', 'propose']).default('propose'),
      after: Wait.prefault('30d'),
    })
    .prefault({}),
});
export type RolloutPlanPolicy = z.infer<typeof RolloutPlanPolicy>;

/** When devices of a site may be changed: from each time of the cron expression (five fields), for the duration. */
export const WindowPolicy = z.strictObject({
  cron: z.string().max(100),
  duration: Duration.refine((ms) => ms >= 60_000 && ms <= 7 * DAY, 'between 1m and 7d'),
  /** IANA name. */
  timeZone: z.string().max(64).default('UTC'),
});
export type WindowPolicy = z.infer<typeof WindowPolicy>;

export const PlanName = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$/, 'not a plan name');

/** Name of the plan that is there without being written down: everybody at once, with the defaults above. */
export const DEFAULT_PLAN = 'default';

export const RolloutsPolicy = z.strictObject({
  plans: z.record(PlanName, RolloutPlanPolicy).default({}),
  /** By site. A site without one is always open. */
  windows: z.record(SiteName, WindowPolicy).default({}),
});

const Milliseconds = z.number().min(0);

/** One wave of a rollout as approved. */
export const PlannedWave = z.strictObject({
  name: WaveName,
  share: z.discriminatedUnion('by', [
    z.strictObject({ by: z.literal('percent'), percent: z.number() }),
    z.strictObject({ by: z.literal('count'), count: z.int() }),
    z.strictObject({ by: z.literal('selector'), selector: Selector }),
    z.strictObject({ by: z.literal('rest') }),
  ]),
  soakMs: Milliseconds,
});
export type PlannedWave = z.infer<typeof PlannedWave>;

/** The plan of one rollout: what was approved, and what is stored with it. Times are milliseconds. */
export const RolloutPlan = z.strictObject({
  name: PlanName,
  waves: z.array(PlannedWave).min(1).max(MOST_WAVES),
  success: Fraction,
  errors: Fraction,
  minimumSample: z.int().min(1),
  quorum: Fraction,
  timeoutMs: Milliseconds,
  retries: z.int().min(0),
  windows: z.enum(['respect', 'ignore']),
  rate: z.strictObject({ targets: z.int().min(1), perMs: z.number().min(1) }).nullable(),
  stragglers: z.strictObject({ action: z.enum(['wait', 'propose']), afterMs: Milliseconds }),
});
export type RolloutPlan = z.infer<typeof RolloutPlan>;
