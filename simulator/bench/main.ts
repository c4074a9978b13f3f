/** Entry point of `npm run bench`. */
import { cpus, totalmem } from 'node:os';
import { CommanderError } from 'commander';
import { EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE } from '#schema/exit-code.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { tellFailure } from '../output/failure.ts';
import { createSteps, type Steps } from '../output/steps.ts';
import { outputTo } from '../output/terminal.ts';
import { benchEnrolment } from './enrol.ts';
import { BENCHES, benchCommand, type BenchName, type BenchOptions } from './options.ts';
import { documentOf, writeResult } from './print.ts';
import { isMet, type BenchResult } from './result.ts';
import { benchRollout } from './rollout.ts';
import { benchRotation } from './rotate.ts';
import { benchStorm } from './storm.ts';

type Bench = (options: BenchOptions, steps: Steps) => Promise<readonly BenchResult[]>;

const RUN: Readonly<Record<BenchName, Bench>> = {
  enrol: async (options, steps) => [await benchEnrolment(options, steps)],
  rotate: async (options, steps) => [await benchRotation(options, steps)],
  storm: async (options, steps) => [await benchStorm(options, steps)],
  rollout: benchRollout,
};

async function run(names: readonly BenchName[], options: BenchOptions): Promise<number> {
  const output = outputTo(options.json ? process.stderr : process.stdout);
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  output.write(
    `  ${cpus().length} cores (${cpu?.model.trim() ?? 'unknown'}), ${memory} GiB, Node ${process.version}\n\n`,
  );
  const results: BenchResult[] = [];
  try {
    for (const name of names) {
      for (const result of await RUN[name](options, createSteps(output, systemClock))) {
        results.push(result);
        writeResult(output, result);
      }
    }
  } catch (error) {
    return tellFailure(error, options.json, {
      stdout: (text) => void process.stdout.write(text),
      stderr: (text) => void process.stderr.write(text),
    });
  }
  if (options.json) process.stdout.write(`${documentOf(results, options.quick)}\n`);
  return results.every(({ targets }) => targets.every(isMet)) ? EXIT_OK : EXIT_UNEXPECTED;
}

function parse(args: readonly string[]): { names: readonly BenchName[]; options: BenchOptions } | number {
  const command = benchCommand();
  try {
    command.parse(args, { from: 'user' });
    const [named] = command.args;
    return {
      names: BENCHES.filter((name) => named === 'all' || named === name),
      options: command.opts<BenchOptions>(),
    };
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    throw error;
  }
}

const asked = parse(process.argv.slice(2));
process.exitCode = typeof asked === 'number' ? asked : await run(asked.names, asked.options);
