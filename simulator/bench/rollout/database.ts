/** What grows with the number of devices in the database: what people and the gateway itself ask of it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { RolloutId } from '#schema/ids.ts';
import type { Steps } from '../../output/steps.ts';
import { KEY_SET } from '../fleet.ts';
import { benchDisk, runBeside } from '../limits/measure.ts';
import type { BenchOptions } from '../options.ts';
import { openRealm, type Realm } from '../realm.ts';
import type { BenchResult, Figure, Row } from '../result.ts';
import { databaseFile, databaseOctets } from './database-size.ts';
import { DatabaseMeasures } from './database-measures.ts';
import { growth, summaryOf, type Summary } from './quantiles.ts';

const SIZES = [1_000, 10_000, 50_000] as const;
const QUICK_SIZES = [200, 500, 1_000] as const;
const REPETITIONS = 100;
const PLANS = 3;
const PAGE = 100;
/** The gateway lets one address ask fifty times a second. */
const PAUSE_MS = 25;
const MOST_STATUS_MS = 50;
/** "Should hardly grow": from the first size to the last, fifty times as many devices. */
const MOST_GROWTH = 2;

async function asked(times: number, ask: () => Promise<unknown>): Promise<Summary> {
  const values: number[] = [];
  for (let time = 0; time < times; time += 1) {
    const begun = performance.now();
    await ask();
    values.push(performance.now() - begun);
    await delay(PAUSE_MS);
  }
  return summaryOf(values);
}

interface Answers {
  readonly show: Summary;
  readonly list: Summary;
  readonly plan: Summary;
}

async function askAll({ operators }: Realm, rollout: RolloutId, middle: string): Promise<Answers> {
  const { client } = operators.as('device-engineer');
  return {
    show: await asked(REPETITIONS, () => client.call('rollout.show', { params: { id: rollout } })),
    list: await asked(REPETITIONS, () => client.call('device.list', { query: { limit: PAGE, after: middle } })),
    plan: await asked(PLANS, () =>
      client.call('rollout.plan', { body: { change: { kind: 'key-version', keySet: KEY_SET } } }),
    ),
  };
}

function rowOf(
  devices: number,
  measures: DatabaseMeasures,
  answers: Answers,
  octets: number,
  startSeconds: number,
): Row {
  const both = (name: string, { median, p99 }: Summary): readonly Figure[] => [
    { name, value: median, unit: 'ms' },
    { name: `${name} p99`, value: p99, unit: 'ms' },
  ];
  return {
    devices,
    figures: [
      ...both('rollout show', answers.show),
      ...both('device list', answers.list),
      ...both('one report', measures.report),
      { name: 'CPU of a report in a batch', value: measures.batched, unit: 'ms' },
      ...both('rollout step', measures.step),
      { name: 'everybody due', value: measures.activation, unit: 'ms' },
      { name: 'dry run', value: measures.dryRun, unit: 'ms' },
      { name: 'dry run CPU', value: measures.dryRunProcessor, unit: 'ms' },
      { name: 'dry run blocks', value: measures.dryRunBlocks, unit: 'ms' },
      { name: 'rollout plan', value: answers.plan.median, unit: 'ms' },
      { name: 'target recorded', value: measures.targetMicroseconds, unit: 'us' },
      { name: 'gateway start', value: startSeconds, unit: 's' },
      { name: 'database', value: octets / 1e6, unit: 'MB' },
      { name: 'database', value: octets / devices / 1e3, unit: 'kB each' },
    ],
  };
}

const figuresOf = (rows: readonly Row[], name: string): readonly number[] =>
  rows.map(({ figures }) => figures.find((one) => one.name === name)?.value ?? Number.NaN);

export async function benchDatabase({ quick, sizes: chosen }: BenchOptions, steps: Steps): Promise<BenchResult> {
  const sizes: readonly number[] = chosen ?? (quick ? QUICK_SIZES : SIZES);
  await using realm = await steps.run('realm', {}, openRealm);
  const disk = await steps.run('limit: commits', {}, () => benchDisk(realm, quick));
  const rows: Row[] = [];
  for (const size of sizes) {
    let measures: DatabaseMeasures | undefined;
    let stoppedAt = 0;
    await steps.run(`database of ${size}`, { total: size }, () =>
      realm.whileStopped(async () => {
        const program = new URL('./database-program.ts', import.meta.url);
        const args = [databaseFile(realm), realm.installation.config.realm, String(size), String(REPETITIONS)];
        measures = await runBeside(program, args, DatabaseMeasures);
        stoppedAt = performance.now();
      }),
    );
    const startSeconds = (performance.now() - stoppedAt) / 1000;
    if (measures === undefined) continue;
    const { rollout } = measures;
    const answers = await steps.run(`asked at ${size}`, {}, () => askAll(realm, rollout, 'EGM-000200'));
    rows.push(rowOf(size, measures, answers, databaseOctets(realm), startSeconds));
  }
  const last = (name: string): number => figuresOf(rows, name).at(-1) ?? Infinity;
  const grows = (name: string) => ({
    name: `growth of ${name} from ${sizes.at(0)} to ${sizes.at(-1)} devices`,
    value: growth(figuresOf(rows, name)),
    unit: 'times',
    most: MOST_GROWTH,
  });
  return {
    bench: 'rollout: database',
    about:
      'one open rollout with targets in every state; asked over the operator API, the rest in a process without a network',
    rows,
    limits: [disk],
    targets: [
      {
        name: `rollout show at ${sizes.at(-1)} devices`,
        value: last('rollout show'),
        unit: 'ms',
        most: MOST_STATUS_MS,
      },
      grows('rollout show'),
      grows('device list'),
      grows('one report'),
    ],
  };
}
