/** Rollouts at the size of a large floor: agents there, away and back; and databases that grow. */
import type { Steps } from '../output/steps.ts';
import { ROLLOUT_PARTS, type BenchOptions } from './options.ts';
import type { BenchResult } from './result.ts';
import { benchDatabase } from './rollout/database.ts';
import { benchFloor } from './rollout/floor.ts';

export async function benchRollout(options: BenchOptions, steps: Steps): Promise<readonly BenchResult[]> {
  const parts = options.part === undefined ? ROLLOUT_PARTS : [options.part];
  const onFloor = parts.filter((part) => part !== 'database');
  return [
    ...(onFloor.length === 0 ? [] : await benchFloor(onFloor, options, steps)),
    ...(parts.includes('database') ? [await benchDatabase(options, steps)] : []),
  ];
}
