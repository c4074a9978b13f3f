/** Options of `npm run bench`. */
import { Argument, Command, Option } from 'commander';

export const BENCHES = ['enrol', 'rotate', 'storm'] as const;
export type BenchName = (typeof BENCHES)[number];

export interface BenchOptions {
  readonly json: boolean;
  /** Small sizes: to see that it works, not how well. */
  readonly quick: boolean;
  readonly state: 'memory' | 'disk';
}

export function benchCommand(): Command {
  return new Command('npm run bench --')
    .description('Measures the gateway beside the limits of this machine. Exit code 1 when a target is missed.')
    .addArgument(new Argument('<bench>', 'what to measure').choices([...BENCHES, 'all']))
    .addOption(
      new Option('--state <where>', 'where simulated devices keep their state')
        .choices(['memory', 'disk'])
        .default('memory'),
    )
    .option('--quick', 'small sizes, to see that it works', false)
    .option('--json', 'print one JSON object on standard output', false)
    .exitOverride()
    .showHelpAfterError('(add -- --help to see all options)');
}
