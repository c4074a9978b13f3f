/** Names of what happens to a rollout, as its history has them. */
import { z } from 'zod';

/** What became of a rollout itself; those from `retried` to `signed-off` are said of targets, and stand at each, too. */
export const ROLLOUT_STEPS = [
  'started',
  'prepared',
  'distributing',
  'wave-soaking',
  'wave-opened',
  'ready',
  'active',
  'paused',
  'resumed',
  'retried',
  'exempted',
  'signed-off',
  'stragglers',
  'retiring',
  'retired',
  'destroying',
  'destroyed',
  'completed',
  'aborted',
  'superseded',
  'compromised',
] as const;
export const RolloutStepName = z.enum(ROLLOUT_STEPS);
export type RolloutStepName = z.infer<typeof RolloutStepName>;

/** What a person says of a target. */
export const TargetWordName = RolloutStepName.extract(['retried', 'exempted', 'signed-off']);
export type TargetWordName = z.infer<typeof TargetWordName>;

/** Facts of a step: texts, numbers, names. */
export const StepDetails = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.string())]),
);
export type StepDetails = z.infer<typeof StepDetails>;
