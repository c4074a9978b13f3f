/** Rollouts on a floor of real agents: with everybody there, and with a fifth of them away and back at once. */
import { setTimeout as delay } from 'node:timers/promises';
import type { RolloutView } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId, RolloutId } from '#schema/ids.ts';
import { publishTrust, retireVersion } from '../../operator/changes.ts';
import type { Step, Steps } from '../../output/steps.ts';
import { lookAtAll, differenceOf } from '../../verify/compare.ts';
import { goalOf, readExpectation } from '../../verify/expectation.ts';
import { estServerOf } from '../enrol.ts';
import { askRotation, createFleet, populate, type Fleet } from '../fleet.ts';
import { benchHandshakes, benchMessages, benchSignatures } from '../limits/measure.ts';
import type { BenchOptions, RolloutPart } from '../options.ts';
import { openRealm, type Realm } from '../realm.ts';
import type { BenchResult, Figure, Row } from '../result.ts';
import { residentOctets, stopwatch, type Spent } from '../usage.ts';
import { awaitRollout, countOf, readRollout } from './await-rollout.ts';
import { compositionFor, everyNth } from './composition.ts';
import { readCounters, since, type Counters } from './counters.ts';
import { databaseOctets } from './database-size.ts';

const DEVICES = 10_000;
const QUICK_DEVICES = 60;
const AWAY_SHARE = 0.2;
const ROTATIONS = 3;
const SAMPLE = 200;
const FEWEST_AT_ONCE = 64;
const REQUEST_OCTETS = 300;
const MOST_SECONDS = 60;
/** An update, and one trust link for the one bundle that was missed; nothing that was slept through is replayed. */
const MOST_UPDATES = 1.05;
const MOST_LINKS = 1.05;
const LEAVE_WITHIN_MS = 60_000;
const PATIENCE_MS = 90_000;

const client = ({ operators }: Realm) => operators.as('key-admin').client;
const between = (from: string, to: string | null): number =>
  to === null ? Number.NaN : (Date.parse(to) - Date.parse(from)) / 1000;

/** They all return at the same moment. */
const awayOf = (devices: number): number => Math.round(devices * AWAY_SHARE);

/** What one change cost, from the moment it was approved. */
interface Cost {
  readonly spent: Spent;
  readonly counters: Counters;
  /** Octets by which the database has grown. */
  readonly octets: number;
}

async function measured<T>(realm: Realm, work: () => Promise<T>): Promise<readonly [T, Cost]> {
  const before = await readCounters(client(realm));
  const octets = databaseOctets(realm);
  const stop = await stopwatch(realm.gateway.run.pid);
  const result = await work();
  const spent = await stop();
  const counters = since(before, await readCounters(client(realm)));
  return [result, { spent, counters, octets: databaseOctets(realm) - octets }];
}

/** The same columns for every change. `stored` is when the change was everywhere and came into use, if that is a step of it. */
async function rowOf(
  realm: Realm,
  change: string,
  devices: number,
  { spent, counters, octets }: Cost,
  stored: number = Number.NaN,
): Promise<Row> {
  const each = (value: number): number => value / devices;
  const figures: Figure[] = [
    { name: 'stored', value: stored, unit: 's' },
    { name: 'whole', value: spent.seconds, unit: 's' },
    { name: 'gateway CPU', value: spent.gateway, unit: 's' },
    { name: 'gateway CPU', value: each(spent.gateway * 1000), unit: 'ms each' },
    { name: 'agents CPU', value: each(spent.devices * 1000), unit: 'ms each' },
    { name: 'updates', value: each(counters.updates), unit: 'each' },
    { name: 'trust links', value: each(counters.trustLinks), unit: 'each' },
    { name: 'reports', value: each(counters.reports), unit: 'each' },
    { name: 'database', value: each(octets), unit: 'B each' },
    { name: 'database', value: databaseOctets(realm) / 1e6, unit: 'MB' },
    { name: 'gateway memory', value: (await residentOctets(realm.gateway.run.pid)) / 1e6, unit: 'MB' },
  ];
  return { change, devices, figures };
}

/** The gateway has a signed "active" from so many. */
const untilActive = (realm: Realm, id: RolloutId, wanted: number, step: Step): Promise<RolloutView> =>
  awaitRollout(realm, id, step, {
    isThere: (view) => view.activatedAt !== null && countOf(view, ['active']) >= wanted,
    done: (view) => countOf(view, view.activatedAt === null ? ['stored'] : ['active']),
  });

async function rotation(
  realm: Realm,
  steps: Steps,
  name: string,
  reachable: number,
): Promise<readonly [Row, RolloutId]> {
  const approve = await askRotation(realm);
  const [view, cost] = await steps.run(name, { total: reachable }, (step) =>
    measured(realm, async () => untilActive(realm, (await approve()).rollout, reachable, step)),
  );
  return [await rowOf(realm, name, reachable, cost, between(view.createdAt, view.activatedAt)), view.id];
}

async function retirement(realm: Realm, steps: Steps, id: RolloutId, devices: number): Promise<Row> {
  const name = 'retirement';
  const [, cost] = await steps.run(name, { total: devices }, (step) =>
    measured(realm, async () => {
      await retireVersion(realm.operators, id);
      await awaitRollout(realm, id, step, {
        isThere: (view) => countOf(view, ['old-retired']) >= devices,
        done: (view) => countOf(view, ['old-retired']),
      });
    }),
  );
  return rowOf(realm, name, devices, cost);
}

async function trustBundle(realm: Realm, steps: Steps, reachable: number): Promise<readonly [Row, RolloutId]> {
  const name = 'trust bundle';
  const [view, cost] = await steps.run(name, { total: reachable }, (step) =>
    measured(realm, async () => {
      const version = await publishTrust(realm.operators, 'benchmark');
      const { items } = await client(realm).call('rollout.list', { query: { open: 'true', limit: 1_000 } });
      const found = items.find(({ kind, toVersion }) => kind === 'trust-bundle' && toVersion === version);
      if (found === undefined)
        throw new CroupierError('rollout.not-found', `no rollout brings trust bundle ${version}`);
      return awaitRollout(realm, found.id, step, {
        isThere: (one) => countOf(one, ['active']) >= reachable,
        done: (one) => countOf(one, ['active']),
      });
    }),
  );
  return [await rowOf(realm, name, reachable, cost, between(view.createdAt, view.activatedAt)), view.id];
}

/** Resolves when the gateway has noticed who is left. */
async function untilConnected(realm: Realm, wanted: number): Promise<void> {
  const end = performance.now() + LEAVE_WITHIN_MS;
  for (;;) {
    const { devices } = await client(realm).call('status.show', {});
    if (devices.connected === wanted) return;
    if (performance.now() > end)
      throw new CroupierError('network.timeout', `${devices.connected} devices are connected, not ${wanted}`);
    await delay(200);
  }
}

/** All devices hold what the gateway wants, by their own word. */
async function untilAllHold(realm: Realm, { floor }: Fleet, wanted: number, step: Step): Promise<void> {
  const { observer } = floor;
  observer.setGoal(goalOf(await readExpectation(client(realm))));
  const stop = observer.onChange(() => step.progress(observer.counts().atGoal));
  try {
    if (!(await observer.until(() => observer.counts().atGoal >= wanted, PATIENCE_MS))) {
      const { atGoal, phases } = observer.counts();
      throw new CroupierError('network.timeout', `${atGoal} of ${wanted} hold it: ${JSON.stringify(phases)}`);
    }
  } finally {
    stop();
  }
}

/** Nobody is left to be served, by the gateway's counts: whoever was away has reached it or gone straight to a newer one. */
const untilNobodyWaits = (realm: Realm, id: RolloutId, wanted: number, step: Step): Promise<RolloutView> =>
  awaitRollout(realm, id, step, {
    isThere: (view) => countOf(view, ['active', 'superseded', 'old-retired', 'old-destroyed']) >= wanted,
    done: () => wanted,
  });

/** Device by device, what some of them hold against what the gateway has on record. Errors: `internal.unexpected`. */
async function checkSample(realm: Realm, { floor }: Fleet, devices: readonly DeviceId[]): Promise<void> {
  const observations = devices.flatMap((id) => floor.observer.of(id) ?? []);
  const { differences } = await lookAtAll(client(realm), { all: () => observations }, differenceOf, () => undefined);
  const [first] = differences;
  if (first === undefined) return;
  const { device, what } = first;
  throw new CroupierError('internal.unexpected', `${differences.length} devices differ: ${device}: ${what}`);
}

interface Stage {
  readonly realm: Realm;
  readonly fleet: Fleet;
  readonly steps: Steps;
  readonly devices: number;
}

async function whole({ realm, steps, devices }: Stage, limits: readonly Figure[]): Promise<BenchResult> {
  const [row, rollout] = await rotation(realm, steps, 'rotation', devices);
  const rows = [row, await retirement(realm, steps, rollout, devices)];
  return {
    bench: 'rollout: whole',
    about:
      'everybody connected, the default plan; stored everywhere, then active everywhere, from the approval to the last signed report on record',
    rows,
    limits,
    targets: [{ name: `rotation of ${devices} devices`, value: figureOf(row, 'whole'), unit: 's', most: MOST_SECONDS }],
  };
}

const figureOf = ({ figures }: Row, name: string): number =>
  figures.find((one) => one.name === name)?.value ?? Infinity;

async function absence({ realm, fleet, steps, devices }: Stage, limits: readonly Figure[]): Promise<BenchResult> {
  const { floor, plans } = fleet;
  const machines = plans.filter((plan) => plan.class !== 'service').map(({ id }) => id);
  const away = machines.slice(0, awayOf(devices));
  const reachable = devices - away.length;
  await steps.run('switched off', { total: away.length }, async () => {
    await floor.switchOff(away);
    await untilConnected(realm, reachable);
  });
  const rows: Row[] = [];
  const rollouts: RolloutId[] = [];
  for (let number = 1; number <= ROTATIONS; number += 1) {
    const [row, rollout] = await rotation(realm, steps, `rotation ${number}`, reachable);
    rows.push(row);
    rollouts.push(rollout);
  }
  const [trust, bundle] = await trustBundle(realm, steps, reachable);
  rows.push(trust);
  const [, cost] = await steps.run('return', { total: devices }, (step) =>
    measured(realm, async () => {
      const on = floor.switchOn(away, { atOnce: away.length });
      await untilAllHold(realm, fleet, devices, step);
      for (const id of [...rollouts, bundle]) await untilNobodyWaits(realm, id, devices, step);
      await on;
    }),
  );
  const drained = await rowOf(realm, 'return of those away', away.length, cost);
  rows.push(drained);
  const { state } = await readRollout(realm, bundle);
  if (state !== 'completed') throw new CroupierError('internal.unexpected', `the rollout of the bundle is ${state}`);
  const looked = [...everyNth(away, SAMPLE), ...everyNth(machines.slice(away.length), SAMPLE)];
  await steps.run('both sides compared', { total: looked.length }, () => checkSample(realm, fleet, looked));
  const last = rollouts.at(-1);
  if (last !== undefined) rows.push(await retirement(realm, steps, last, devices));
  const { faults } = floor.observer.counts();
  return {
    bench: 'rollout: absence',
    about: `${away.length} of ${devices} switched off, ${ROTATIONS} rotations and one trust bundle without them, then all of them back at once; ${faults} faults told by agents`,
    rows,
    limits,
    targets: [
      { name: 'updates for each that returns', value: figureOf(drained, 'updates'), unit: '', most: MOST_UPDATES },
      {
        name: 'trust links for each that returns',
        value: figureOf(drained, 'trust links'),
        unit: '',
        most: MOST_LINKS,
      },
    ],
  };
}

const PARTS: Readonly<Partial<Record<RolloutPart, typeof whole>>> = { whole, absence };

/** Those of the parts that need agents, one after the other on one floor. */
export async function benchFloor(
  parts: readonly RolloutPart[],
  { quick, state, devices: chosen }: BenchOptions,
  steps: Steps,
): Promise<readonly BenchResult[]> {
  const devices = chosen ?? (quick ? QUICK_DEVICES : DEVICES);
  await using realm = await steps.run('realm', {}, openRealm);
  const limits = [
    await steps.run('limit: handshakes', {}, () =>
      benchHandshakes(realm, estServerOf(realm), new Uint8Array(REQUEST_OCTETS), { concurrency: 64, quick }),
    ),
    await steps.run('limit: messages', {}, () => benchMessages(realm, quick)),
    await steps.run('limit: signatures', {}, () => benchSignatures(realm, quick)),
  ];
  const fleet = createFleet(realm, compositionFor(devices), state, Math.max(FEWEST_AT_ONCE, awayOf(devices)));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => fleet.floor.stop());
  await steps.run('enrolled and connected', { total: devices }, (step) =>
    populate(realm, fleet, fleet.plans, devices, step),
  );
  const results: BenchResult[] = [];
  for (const part of parts) {
    const result = await PARTS[part]?.({ realm, fleet, steps, devices }, limits);
    if (result !== undefined) results.push(result);
  }
  return results;
}
