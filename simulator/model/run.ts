/** A run of the model from its seed to its result. */
import { KeySetName, Realm, TrustVersion } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import { Account, type Counters, type RolloutAccount } from './account.ts';
import { Engine } from './engine.ts';
import { modelComposition, ordinaryCharacter, ORDINARY, populate, type Shares } from './floor.ts';
import { newKeySet } from './key-versions.ts';
import { ORDINARY_STAFF, Staff, type StaffHabits } from './staff.ts';
import { Stream } from './stream.ts';
import type { Violation } from './watch.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export interface ModelOptions {
  readonly devices: number;
  readonly days: number;
  readonly seed: string;
  readonly policy: Policy;
  readonly shares?: Shares;
  readonly staff?: Partial<StaffHabits>;
  /** After each day of the model; the next one waits for it. Rejects to end the run. */
  readonly onDay?: (day: number, engine: Engine) => Promise<void>;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface ModelResult {
  readonly seed: string;
  readonly devices: number;
  readonly days: number;
  readonly events: number;
  readonly messages: Counters;
  readonly rollouts: readonly RolloutAccount[];
  /** Devices that were away for a day or more and came back, until they held what they should. */
  readonly returned: { readonly devices: number; readonly messages: Percentiles; readonly ms: Percentiles };
  readonly checks: number;
  readonly violations: number;
  readonly named: readonly Violation[];
  /** Two runs that agree to the last step have the same. */
  readonly digest: string;
}

export const MODEL_START = new Date('2027-01-01T00:00:00.000Z');
const MODEL_REALM = Realm.parse('model');
const FIRST_TRUST = TrustVersion.parse(1);
/** The floor is switched on within this time. */
const SWITCH_ON_MS = HOUR;

export async function runModel(options: ModelOptions): Promise<ModelResult> {
  const { devices, days, seed, policy, shares = ORDINARY } = options;
  const engine = new Engine({ realm: MODEL_REALM, policy, start: MODEL_START, trust: FIRST_TRUST });
  const account = new Account(engine);
  engine.listener = account;
  const { world } = engine;
  const names = Object.keys(policy.keySets);
  names.forEach((name, index) => {
    const terms = policy.keySets[KeySetName.parse(name)];
    if (terms === undefined) return;
    // Their cryptoperiods do not end on one day.
    const age = (terms.cryptoperiod / names.length) * index;
    world.addKeySet(newKeySet(KeySetName.parse(name), terms, new Date(MODEL_START.getTime() - age)));
  });
  populate(
    { realm: MODEL_REALM, policy, world, start: MODEL_START, trust: FIRST_TRUST },
    { seed, composition: modelComposition(devices), character: ordinaryCharacter(shares) },
  );
  for (const node of world.nodes) engine.switchOn(node, firstArrival(node.habit.name === 'wanderer', node.stream));
  const staff = new Staff(engine, { ...ORDINARY_STAFF, ...options.staff }, new Stream(seed, 'staff'));
  account.onRolloutStep = (before, after) => staff.told(before, after);
  staff.begin();
  for (let day = 1; day <= days; day += 1) {
    engine.runUntil(MODEL_START.getTime() + day * DAY);
    await options.onDay?.(day, engine);
  }
  return resultOf(options, engine, account);
}

/** Most of those that roam are away to begin with. */
function firstArrival(roams: boolean, stream: Stream): number {
  const AWAY_AT_FIRST = 0.8;
  const first = stream.between(0, SWITCH_ON_MS);
  return roams && stream.chance(AWAY_AT_FIRST) ? first + stream.between(DAY, 160 * DAY) : first;
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (fraction: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}

function resultOf({ seed, devices, days }: ModelOptions, engine: Engine, account: Account): ModelResult {
  const { returned, watch } = account;
  return {
    seed,
    devices,
    days,
    events: engine.events,
    messages: account.counters,
    rollouts: [...account.rollouts.values()],
    returned: {
      devices: returned.length,
      messages: percentiles(returned.map(({ messages }) => messages)),
      ms: percentiles(returned.map(({ ms }) => ms)),
    },
    checks: watch.checks,
    violations: watch.violations,
    named: watch.kept,
    digest: account.history.digest(),
  };
}
