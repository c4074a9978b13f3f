/** Options of `npm run bench`. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander';

export const BENCHES = ['enrol', 'rotate', 'storm'] as const;
export type BenchName = (typeof BENCHES)[number];

export interface BenchOptions {
  readonly json: boolean;
  /** Small sizes: to see that it works, not how well. */
  readonly quick: boolean;
  readonly state: 'memory' | 'disk';
  /** Instead of the usual ones; targets are judged all the same. */
  readonly sizes?: readonly number[];
}

function sizes(text: string): readonly number[] {
  const list = text.split(',').map(Number);
  const rises = list.every((size, index) => Number.isInteger(size) && size > (list[index - 1] ?? 3));
  if (!rises) throw new InvalidArgumentError('They are rising whole numbers from 4, with commas between them.');
  return list;
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
    .option('--sizes <list>', 'sizes of the floor, rising, such as 500,2000', sizes)
    .option('--quick', 'small sizes, to see that it works', false)
    .option('--json', 'print one JSON object on standard output', false)
    .exitOverride()
    .showHelpAfterError('(add -- --help to see all options)');
}
