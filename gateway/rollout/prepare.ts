/** Records the targets of an approved rollout, page by page: a large floor holds up nothing else, and a crash costs nothing. */
import type { Selector } from '#schema/rollout-plan.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { PlanDevice, RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { rolloutEvent } from './decide.ts';
import { progressOf } from './progress.ts';
import { choosingTargets, selectorOf } from './targets.ts';
import { inTurns } from './work.ts';

/** Devices or targets in one go: some milliseconds of the event loop. */
const PAGE = 500;

const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Devices that a selector names, all of them, read page by page. Errors: `store.unavailable`. */
export async function devicesOf(store: Store, selector: Selector): Promise<readonly PlanDevice[]> {
  const devices: PlanDevice[] = [];
  for (;;) {
    const page = await store.planDevices(selector, devices.at(-1)?.id ?? '', PAGE);
    devices.push(...page);
    if (page.length < PAGE) return devices;
    await breathe();
  }
}

/**
 * Who is in which wave follows from the approved plan alone, so that a preparation that was broken off is done again and
 * finds what it has recorded. Errors: `store.unavailable`.
 */
export async function prepareRollout(store: Store, clock: Clock, rollout: RolloutRecord): Promise<RolloutOutcome> {
  const keySet = rollout.kind === 'key-version' ? await store.keySet(rollout.keySet) : undefined;
  const selector = selectorOf(rollout, keySet);
  const targets = await inTurns(choosingTargets(rollout, selector, await devicesOf(store, selector)));
  for (let from = 0; from < targets.length; from += PAGE) {
    await store.addTargets(rollout.id, targets.slice(from, from + PAGE), clock.now());
    await breathe();
  }
  const now = clock.now();
  return store.advanceRollout(rollout.id, now, (current, _, tallies) => {
    if (current === undefined || current.finishedAt !== undefined || current.preparedAt !== undefined)
      return { kind: 'stay', until: undefined };
    const { total, waves } = progressOf(current, tallies);
    const sizes = waves.map(({ name, total: size }) => `${name}: ${size}`);
    return {
      kind: 'advance',
      rollout: { ...current, preparedAt: now },
      versions: [],
      due: current.state === 'active' ? 'all' : 'none',
      audit: [
        rolloutEvent(
          current,
          'rollout.prepare',
          { type: 'gateway', id: 'rollout' },
          { targets: total, waves: sizes, plan: current.plan.name, planSha256: current.planSha256 },
        ),
      ],
    };
  });
}
