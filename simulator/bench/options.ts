/** Options of `npm run bench`. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander';

export const BENCHES = ['enrol', 'rotate', 'storm', 'rollout'] as const;
export type BenchName = (typeof BENCHES)[number];

/** Parts of `rollout`: everybody there, a fifth away, and databases of several sizes without any agent. */
export const ROLLOUT_PARTS = ['whole', 'absence', 'database'] as const;
export type RolloutPart = (typeof ROLLOUT_PARTS)[number];

export interface BenchOptions {
  readonly json: boolean;
  /** Small sizes: to see that it works, not how well. */
  readonly quick: boolean;
  readonly state: 'memory' | 'disk';
  /** Instead of the usual ones; targets are judged all the same. */
  readonly sizes?: readonly number[];
  /** Of `rollout`: agents on its floor, and the one part to run. */
  readonly devices?: number;
  readonly part?: RolloutPart;
}

/** A fifth of them is away, and there is more than one of every class. */
const LEAST_DEVICES = 20;

function sizes(text: string): readonly number[] {
  const list = text.split(',').map(Number);
  const rises = list.every((size, index) => Number.isInteger(size) && size > (list[index - 1] ?? 3));
  if (!rises) throw new InvalidArgumentError('They are rising whole numbers from 4, with commas between them.');
  return list;
}

function devices(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < LEAST_DEVICES)
    throw new InvalidArgumentError(`It is a whole number from ${LEAST_DEVICES}.`);
  return count;
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
    .option('--sizes <list>', 'sizes of the floor, or of the databases of rollout, rising, such as 500,2000', sizes)
    .option('--devices <count>', 'rollout: agents on the floor', devices)
    .addOption(new Option('--part <part>', 'rollout: this part alone').choices([...ROLLOUT_PARTS]))
    .option('--quick', 'small sizes, to see that it works', false)
    .option('--json', 'print one JSON object on standard output', false)
    .exitOverride()
    .showHelpAfterError('(add -- --help to see all options)');
}
