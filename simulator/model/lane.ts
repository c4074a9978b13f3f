/** One lane of a run, from its seed to its result. */
import { KeySetName, Realm, TrustVersion } from '#schema/ids.ts';
import { Account } from './account.ts';
import { Engine } from './engine.ts';
import { modelComposition, ordinaryCharacter, populate } from './floor.ts';
import { newKeySet } from './key-versions.ts';
import { MODEL_START, type LaneResult, type RunTerms } from './lane-messages.ts';
import type { Lanes } from './lanes.ts';
import { readPolicy } from './policy.ts';
import { ORDINARY_STAFF, Staff } from './staff.ts';
import { Stream } from './stream.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const MODEL_REALM = Realm.parse('model');
const FIRST_TRUST = TrustVersion.parse(1);
/** The floor is switched on within this time. */
const SWITCH_ON_MS = HOUR;

/** `onDay`: after each day of the model, with the events so far. */
export function runLane(terms: RunTerms, lanes: Lanes, onDay: (day: number, events: number) => void): LaneResult {
  const { devices, days, seed, shares } = terms;
  const policy = readPolicy(terms.policy);
  const engine = new Engine({ realm: MODEL_REALM, policy, start: MODEL_START, trust: FIRST_TRUST, lanes });
  const account = new Account(engine);
  engine.listener = account;
  const { world } = engine;
  const names = Object.keys(policy.keySets);
  names.forEach((name, index) => {
    const set = policy.keySets[KeySetName.parse(name)];
    if (set === undefined) return;
    // Their cryptoperiods do not end on one day.
    const age = (set.cryptoperiod / names.length) * index;
    world.addKeySet(newKeySet(KeySetName.parse(name), set, new Date(MODEL_START.getTime() - age)));
  });
  populate(
    { realm: MODEL_REALM, policy, world, start: MODEL_START, trust: FIRST_TRUST, lanes },
    { seed, composition: modelComposition(devices), character: ordinaryCharacter(shares) },
  );
  for (const node of world.nodes) engine.switchOn(node, firstArrival(node.habit.name === 'wanderer', node.stream));
  const staff = new Staff(engine, ORDINARY_STAFF, new Stream(seed, 'staff'));
  account.onRolloutStep = (before, after) => staff.told(before, after);
  staff.begin();
  for (let day = 1; day <= days; day += 1) {
    engine.runUntil(MODEL_START.getTime() + day * DAY);
    onDay(day, engine.events);
  }
  const { counters, rollouts, returned, watch, history } = account;
  return {
    events: engine.events,
    messages: counters,
    rollouts: [...rollouts.values()],
    returned,
    checks: watch.checks,
    violations: watch.violations,
    named: watch.kept,
    digest: history.digest(),
  };
}

/** Most of those that roam are away to begin with. */
function firstArrival(roams: boolean, stream: Stream): number {
  const AWAY_AT_FIRST = 0.8;
  const first = stream.between(0, SWITCH_ON_MS);
  return roams && stream.chance(AWAY_AT_FIRST) ? first + stream.between(DAY, 160 * DAY) : first;
}
