/** What the threads of a run are given, and what they tell. */
import { z } from 'zod';
import { RolloutId } from '#schema/ids.ts';
import { ROLLOUT_STATES } from '#schema/rollout-states.ts';
import { Shares } from './floor.ts';
import { INVARIANTS } from './watch.ts';

/** When every run begins. */
export const MODEL_START = new Date('2027-01-01T00:00:00.000Z');

/** What a run is about: the same for all its lanes. */
export const RunTerms = z.strictObject({
  devices: z.int(),
  days: z.int(),
  seed: z.string(),
  /** Fleet policy, YAML. */
  policy: z.string(),
  shares: Shares,
});
export type RunTerms = z.infer<typeof RunTerms>;

export const LaneTask = z.strictObject({
  terms: RunTerms,
  index: z.int(),
  memory: z.strictObject({
    count: z.int(),
    capacity: z.int(),
    control: z.instanceof(SharedArrayBuffer),
    numbers: z.instanceof(SharedArrayBuffer),
  }),
});
export type LaneTask = z.infer<typeof LaneTask>;

const Counters = z.strictObject({
  updates: z.int(),
  links: z.int(),
  reports: z.int(),
  lost: z.int(),
  quarantined: z.int(),
});

/** Times are milliseconds since 1970; a time that has not come is undefined. */
const RolloutAccount = z.strictObject({
  id: RolloutId,
  what: z.string(),
  approvedAt: z.number(),
  waves: z.array(z.strictObject({ name: z.string(), openedAt: z.number(), passedAt: z.number().or(z.undefined()) })),
  reached: z.partialRecord(z.enum(ROLLOUT_STATES), z.number()),
  pauses: z.array(z.strictObject({ code: z.string(), at: z.number(), resumedAt: z.number().or(z.undefined()) })),
  stragglers: z.int(),
  signedOff: z.int(),
  targets: z.int(),
});

export const LaneResult = z.strictObject({
  events: z.int(),
  messages: Counters,
  rollouts: z.array(RolloutAccount),
  returned: z.array(z.strictObject({ absence: z.number(), messages: z.int(), ms: z.number() })),
  checks: z.int(),
  violations: z.int(),
  named: z.array(z.strictObject({ invariant: z.enum(INVARIANTS), at: z.string(), what: z.string() })),
  digest: z.string(),
});
export type LaneResult = z.infer<typeof LaneResult>;

/** What a lane has to say. */
export const LaneMessage = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('day'), day: z.int(), events: z.int() }),
  z.strictObject({ kind: z.literal('done'), result: LaneResult }),
]);
export type LaneMessage = z.infer<typeof LaneMessage>;
