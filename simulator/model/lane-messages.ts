/** What the threads of a run are given, and what they tell. */
import { z } from 'zod';
import { Counters, Returned, RolloutAccount } from './account.ts';
import { Shares } from './floor.ts';
import { LaneMemory } from './shared-lanes.ts';
import { Violation } from './watch.ts';

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
  memory: LaneMemory,
});
export type LaneTask = z.infer<typeof LaneTask>;

export const LaneResult = z.strictObject({
  events: z.int(),
  messages: Counters,
  rollouts: z.array(RolloutAccount),
  returned: z.array(Returned),
  checks: z.int(),
  violations: z.int(),
  named: z.array(Violation),
  digest: z.string(),
});
export type LaneResult = z.infer<typeof LaneResult>;

/** What a lane has to say. */
export const LaneMessage = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('day'), day: z.int(), events: z.int() }),
  z.strictObject({ kind: z.literal('done'), result: LaneResult }),
]);
export type LaneMessage = z.infer<typeof LaneMessage>;
