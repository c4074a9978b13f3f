/** `croupier-sim model`: the gateway's own decisions over a year of a large floor, in minutes. */
import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { EXIT_UNEXPECTED } from '#schema/exit-code.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { wholeNumber } from '../output/numbers.ts';
import { createSteps } from '../output/steps.ts';
import type { Register, Surroundings } from './registration.ts';

interface ModelCommandOptions {
  readonly devices: number;
  readonly days: number;
  readonly seed: string;
  readonly policy?: string;
  readonly json: boolean;
}

const FEWEST_DEVICES = 4;
const MOST_DEVICES = 200_000;
const MOST_DAYS = 3_650;
/** What events leave behind is collected seldom, since every collection of one lane holds up the others. */
const YOUNG_SPACE_MB = 128;

export const registerModel: Register = (program, surroundings, exitWith) => {
  program
    .command('model')
    .description('simulate a floor for months under a virtual clock, with the decisions that the gateway runs')
    .option('--devices <n>', 'size of the floor', wholeNumber(FEWEST_DEVICES, MOST_DEVICES), 50_000)
    .option('--days <n>', 'how long the model runs, in its own time', wholeNumber(1, MOST_DAYS), 365)
    .option('--seed <text>', 'what everything is drawn from', 'croupier')
    .option('--policy <file>', 'fleet policy to run under (YAML); unless told, one with three key sets and waves')
    .option('--json', 'print the result as one JSON object on standard output', false)
    .action(async (options: ModelCommandOptions) => {
      if ((await play(options, surroundings)) > 0) exitWith(EXIT_UNEXPECTED);
    });
};

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CroupierError('input.invalid', `the policy ${file} cannot be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** Returns how often an invariant was broken. */
async function play(options: ModelCommandOptions, surroundings: Surroundings): Promise<number> {
  const { devices, days, seed, json } = options;
  const signal = surroundings.stopSignal();
  const output = surroundings.outputFor(json);
  const steps = createSteps(output, systemClock);
  // Only here: the other commands need nothing of the gateway.
  const { runModel } = await import('../model/run.ts');
  const { MODEL_POLICY } = await import('../model/policy.ts');
  const { modelDocument, writeModel } = await import('../model/print.ts');
  const policy = options.policy === undefined ? MODEL_POLICY : await textOf(options.policy);
  for (const bound of ['min', 'max']) setFlagsFromString(`--${bound}-semi-space-size=${YOUNG_SPACE_MB}`);
  const begun = systemClock.monotonic();
  const result = await steps.run('days', { total: days }, (step) =>
    runModel({
      devices,
      days,
      seed,
      policy,
      onDay: (day, events) => step.progress(day, `${events.toLocaleString('en')} events`),
      signal,
    }),
  );
  const seconds = (systemClock.monotonic() - begun) / 1000;
  writeModel(output, result, seconds);
  if (json) surroundings.stdout(`${modelDocument(result, seconds)}\n`);
  return result.violations;
}
