/** Entry point of `npm start`. */
import { once } from 'node:events';
import { CommanderError } from 'commander';
import { EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE } from '#schema/exit-code.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { tellFailure } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { outputTo, stopSignal } from '../output/terminal.ts';
import { documentOf, isAllWell, writeSummary } from './findings.ts';
import { writeHints } from './hints.ts';
import { startCommand, type StartOptions } from './options.ts';
import { start, type Running } from './run.ts';

const EXIT_INTERRUPTED = 130;

async function run(options: StartOptions): Promise<number> {
  const clock = systemClock;
  const signal = stopSignal();
  const output = outputTo(options.json ? process.stderr : process.stdout);
  const steps = createSteps(output, clock);
  const begun = clock.monotonic();
  let exitCode = EXIT_OK;
  const whenDone = async ({ findings, gateway }: Running): Promise<void> => {
    writeSummary(output, findings, steps.results, (clock.monotonic() - begun) / 1000);
    if (options.json) process.stdout.write(`${documentOf(findings)}\n`);
    if (!isAllWell(findings)) exitCode = EXIT_UNEXPECTED;
    if (options.exit || signal.aborted) return;
    writeHints(output, options, gateway.run);
    await Promise.race([once(signal, 'abort'), gateway.died]);
    output.write('\n  stopping\n');
  };
  try {
    await start(options, { steps, clock, signal }, whenDone);
    return exitCode;
  } catch (error) {
    if (signal.aborted) return EXIT_INTERRUPTED;
    return tellFailure(error, options.json, {
      stdout: (text) => void process.stdout.write(text),
      stderr: (text) => void process.stderr.write(text),
    });
  }
}

function parse(args: readonly string[]): StartOptions | number {
  const command = startCommand();
  try {
    return command.parse(args, { from: 'user' }).opts<StartOptions>();
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    throw error;
  }
}

const options = parse(process.argv.slice(2));
process.exitCode = typeof options === 'number' ? options : await run(options);
