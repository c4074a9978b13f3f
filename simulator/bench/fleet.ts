/** A floor of real agents at a gateway of its own, brought to where a measurement begins; and rotations of its key. */
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { KeySetName, KeyVersionNumber, RolloutId } from '#schema/ids.ts';
import type { RolloutView } from '#schema/api/views.ts';
import { draw } from '../floor/draw.ts';
import { createFloor, type Floor } from '../floor/floor.ts';
import { forEachLimited } from '../floor/limiter.ts';
import type { Composition } from '../floor/composition.ts';
import type { DevicePlan } from '../floor/plan.ts';
import type { Step } from '../output/steps.ts';
import { goalOf, readExpectation, rotatedGoal } from '../verify/expectation.ts';
import type { BenchOptions } from './options.ts';
import type { Realm } from './realm.ts';

export const KEY_SET = KeySetName.parse('wallet-kek');
const SEED = 'bench';
const ENROL_AT_ONCE = 64;
/** Without news from any device for so long, a measurement has failed. */
const PATIENCE_MS = 60_000;
const POLL_MS = 50;

const Begun = z.object({ rollout: RolloutId, to: KeyVersionNumber });
export type Begun = z.infer<typeof Begun>;

export interface Fleet {
  readonly floor: Floor;
  /** In an order in which every part is like the whole. */
  readonly plans: readonly DevicePlan[];
}

/** `atOnce`: how many connect at the same time. */
export function createFleet(
  realm: Realm,
  size: number | Composition,
  state: BenchOptions['state'],
  atOnce: number,
): Fleet {
  const floor = createFloor({
    seed: SEED,
    size,
    gateway: realm.addresses,
    state: state === 'memory' ? { kind: 'memory' } : { kind: 'disk', directory: join(realm.directory, 'devices') },
    concurrency: atOnce,
  });
  const rank = ({ id }: DevicePlan): number => draw(SEED, 'order', id);
  return { floor, plans: floor.plans.toSorted((a, b) => rank(a) - rank(b)) };
}

function stuck(what: string, { floor }: Fleet): CroupierError {
  const { phases, atGoal } = floor.observer.counts();
  const [fault] = floor.observer.faults();
  const first = fault === undefined ? '' : `; first fault: ${fault.device}: ${fault.message}`;
  return new CroupierError('network.timeout', `${what}: ${atGoal} there, ${JSON.stringify(phases)}${first}`);
}

/** Imports, enrols and connects these devices; resolves when `total` devices hold what the gateway wants. */
export async function populate(
  realm: Realm,
  fleet: Fleet,
  plans: readonly DevicePlan[],
  total: number,
  step: Step,
): Promise<void> {
  const { floor } = fleet;
  const { observer } = floor;
  floor.handOut(await realm.admit(plans.map(({ row }) => row)));
  observer.setGoal(goalOf(await readExpectation(realm.operators.as('key-admin').client)));
  const stop = observer.onChange(() => step.progress(observer.counts().atGoal));
  try {
    await forEachLimited(plans, ENROL_AT_ONCE, ({ id }) => floor.switchOn([id]));
    if (!(await observer.until(() => observer.counts().atGoal >= total, PATIENCE_MS)))
      throw stuck('not all devices got their keys', fleet);
  } finally {
    stop();
  }
}

/** Asks for a rotation; what is returned approves it. */
export async function askRotation({ operators }: Realm): Promise<() => Promise<Begun>> {
  const { client } = operators.as('key-admin');
  const answer = await client.call('keyset.rotate', { params: { name: KEY_SET }, body: { reason: 'benchmark' } });
  return () => operators.complete(answer, Begun);
}

/** Resolves when the gateway has recorded the signed "active" of `wanted` devices. */
export async function recorded(realm: Realm, { rollout }: Begun, wanted: number): Promise<RolloutView> {
  const { client } = realm.operators.as('key-admin');
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const view = await client.call('rollout.show', { params: { id: rollout } });
    const active = view.progress.byState.active ?? 0;
    if (active >= wanted) return view;
    if (performance.now() > end) {
      throw new CroupierError('network.timeout', `the gateway has ${active} of ${wanted} devices as active`);
    }
    await delay(POLL_MS);
  }
}

/** Resolves when `wanted` devices use the new version and the gateway has it from each of them. */
export async function taken(realm: Realm, fleet: Fleet, begun: Begun, wanted: number, step: Step): Promise<void> {
  const { observer } = fleet.floor;
  observer.setGoal(rotatedGoal(KEY_SET, begun.to));
  const stop = observer.onChange(() => step.progress(observer.counts().atGoal));
  try {
    if (!(await observer.until(() => observer.counts().atGoal >= wanted, PATIENCE_MS)))
      throw stuck('not all devices took the new version', fleet);
  } finally {
    stop();
  }
  await recorded(realm, begun, wanted);
}
