/** `croupier-sim floor`: a floor of devices, some of them difficult, against a running gateway. */
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT_UNEXPECTED } from '#schema/exit-code.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { BEHAVIOUR_KINDS, type BehaviourKind } from '../floor/behaviour.ts';
import { LARGEST_FLOOR, SMALLEST_FLOOR } from '../floor/composition.ts';
import { createFloor, type Floor } from '../floor/floor.ts';
import type { BehaviourShares } from '../floor/plan.ts';
import { registerFloor as registerDevices, ticketFloor } from '../floor/population.ts';
import { addressesOf, readInstallation, readRun } from '../operator/installation.ts';
import { openOperators, type Operators } from '../operator/operators.ts';
import { createSteps, type Steps } from '../output/steps.ts';
import { percentage, wholeNumber } from '../output/numbers.ts';
import { compareAll, type Difference } from '../verify/compare.ts';
import { converge } from '../verify/converge.ts';
import { documentOf, isAllWell, writeReport, type FloorReport } from './floor-report.ts';
import type { Register, Surroundings } from './registration.ts';

type Shares = Readonly<Partial<Record<BehaviourKind, number>>>;

interface FloorOptions {
  readonly devices: number;
  readonly data: string;
  readonly seed: string;
  readonly memory: boolean;
  readonly concurrency: number;
  readonly stay: boolean;
  readonly json: boolean;
  readonly offline?: number;
  readonly restart?: number;
  readonly slow?: number;
  readonly deadClock?: number;
  readonly duplicate?: number;
  readonly refuse?: number;
  readonly busy?: number;
}

const WHAT: Readonly<Record<BehaviourKind, string>> = {
  offline: 'are switched off for a while, and on again',
  restart: 'lose their power, up to three times',
  slow: 'get every message up to three seconds late',
  'dead-clock': 'show 1970, 2000 or ten years from now',
  duplicate: 'send every report twice',
  refuse: 'get their first update altered, and refuse it',
  busy: 'are busy for up to fifteen seconds when a key is to be activated',
};

export const registerFloor: Register = (program, surroundings, exitWith) => {
  const command = program
    .command('floor')
    .description(
      'enrol a floor with the gateway of a data directory, play its troubles, and compare what both sides say',
    )
    .option('--devices <n>', 'size of the floor', wholeNumber(SMALLEST_FLOOR, LARGEST_FLOOR), 200)
    .option('--data <dir>', 'data directory of the running gateway', 'var')
    .option('--seed <text>', 'what the floor is made from', 'croupier')
    .option('--memory', 'keep the states of the devices in memory: the floor ends with this process', false)
    .option('--concurrency <n>', 'devices that are switched on at once', wholeNumber(1, 512), 32)
    .option('--stay', 'leave the floor running after the report, until a signal', false)
    .option('--json', 'print the report as one JSON object on standard output', false);
  addBehaviours(command).action(async (options: FloorOptions) => {
    const report = await runFloor(options, surroundings);
    if (!isAllWell(report)) exitWith(EXIT_UNEXPECTED);
  });
};

function addBehaviours(command: Command): Command {
  for (const kind of BEHAVIOUR_KINDS)
    command.option(`--${kind} <percent>`, `so many percent ${WHAT[kind]}`, percentage);
  return command;
}

function sharesOf({ offline, restart, slow, deadClock, duplicate, refuse, busy }: FloorOptions): BehaviourShares {
  const named = { offline, restart, slow, 'dead-clock': deadClock, duplicate, refuse, busy };
  const shares: { -readonly [K in keyof Shares]: Shares[K] } = {};
  for (const kind of BEHAVIOUR_KINDS) {
    const share = named[kind];
    if (share !== undefined) shares[kind] = share;
  }
  return shares;
}

async function runFloor(options: FloorOptions, surroundings: Surroundings): Promise<FloorReport> {
  const signal = surroundings.stopSignal();
  const output = surroundings.outputFor(options.json);
  const steps = createSteps(output, systemClock);
  await using cleanup = new AsyncDisposableStack();
  const directory = resolve(options.data);
  const installation = await readInstallation(directory);
  const run = await readRun(directory);
  const operators = await openOperators(installation, run);
  cleanup.defer(() => operators.close());
  const floor = createFloor({
    seed: options.seed,
    size: options.devices,
    shares: sharesOf(options),
    gateway: addressesOf(installation, run),
    state: options.memory ? { kind: 'memory' } : { kind: 'disk', directory: join(directory, 'floor', 'devices') },
    concurrency: options.concurrency,
  });
  cleanup.defer(() => floor.stop());
  cleanup.defer(() => steps.close());
  const report = await play({ directory, floor, operators, steps, signal });
  writeReport(output, report, steps.results);
  if (options.json) surroundings.stdout(`${documentOf(report)}\n`);
  if (options.stay && !signal.aborted) {
    output.write('\n  The floor goes on; Ctrl-C switches it off.\n');
    await once(signal, 'abort');
  }
  return report;
}

interface Play {
  readonly directory: string;
  readonly floor: Floor;
  readonly operators: Operators;
  readonly steps: Steps;
  readonly signal: AbortSignal;
}

async function play({ directory, floor, operators, steps, signal }: Play): Promise<FloorReport> {
  const { observer, plans } = floor;
  const total = plans.length;
  const { client } = operators.as('device-engineer');
  const csv = join(directory, 'floor', 'inventory.csv');
  await steps.run(
    'inventory',
    {},
    () => registerDevices(floor, { directory, operators, csv }),
    (count) => `${count} devices imported`,
  );
  await steps.run(
    'tickets',
    {},
    () => ticketFloor(floor, operators),
    (count) => `${count} issued`,
  );
  signal.throwIfAborted();
  await steps.run('switched on', { total }, async (step) => {
    const stop = observer.onChange(() => step.progress(observer.counts().phases.connected));
    await floor.switchOn().finally(stop);
    step.progress(observer.counts().phases.connected);
  });
  const troubled = plans.filter(({ behaviours }) => behaviours.length > 0).length;
  if (troubled > 0)
    await steps.run(
      'troubles',
      {},
      () => floor.play(signal),
      () => `${troubled} devices`,
    );
  const { atGoal } = await steps.run('converged', { total }, (step) => converge(floor, client, total, step, signal));
  const differences: readonly Difference[] = await steps.run(
    'devices and gateway',
    { total },
    (step) => compareAll(client, observer, (agreeing) => step.progress(agreeing)),
    (found) => (found.length === 0 ? 'they agree' : `${found.length} differ`),
  );
  return { seed: floor.seed, plans, atGoal, counts: observer.counts(), faults: observer.faultCodes(), differences };
}
