/** `croupier-sim run`: one scenario, from an enrolled floor to the verdict over every device. */
import { EXIT_UNEXPECTED } from '#schema/exit-code.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { LARGEST_FLOOR, SMALLEST_FLOOR } from '../floor/composition.ts';
import { createSteps } from '../output/steps.ts';
import { wholeNumber } from '../output/numbers.ts';
import { scenarioNamed } from '../scenario/registry.ts';
import { isAllWell } from '../stage/result.ts';
import { runScenario } from '../stage/run-scenario.ts';
import type { Register } from './registration.ts';
import { documentOf, writeResult } from './run-report.ts';

interface RunOptions {
  readonly devices: number;
  readonly seed: string;
  readonly data?: string;
  readonly keep: boolean;
  readonly json: boolean;
}

export const registerRun: Register = (program, surroundings, exitWith) => {
  program
    .command('run')
    .description('run a scenario and check the invariants on both sides, device by device')
    .argument('<scenario>', 'one that croupier-sim list names')
    .option('--devices <n>', 'size of the floor', wholeNumber(SMALLEST_FLOOR, LARGEST_FLOOR), 50)
    .option('--seed <text>', 'what the floor is made from', 'croupier')
    .option(
      '--data <dir>',
      'data directory of a running gateway (default: a gateway of its own, thrown away afterwards)',
    )
    .option('--keep', 'leave the directory of its own gateway behind', false)
    .option('--json', 'print the result as one JSON object on standard output', false)
    .action(async (name: string, { devices, seed, data, keep, json }: RunOptions) => {
      const scenario = scenarioNamed(name);
      const output = surroundings.outputFor(json);
      const steps = createSteps(output, systemClock);
      const signal = surroundings.stopSignal();
      const result = await runScenario(scenario, { devices, seed, data, keep }, { steps, signal });
      writeResult(output, result);
      if (json) surroundings.stdout(`${documentOf(result)}\n`);
      if (!isAllWell(result)) exitWith(EXIT_UNEXPECTED);
    });
};
