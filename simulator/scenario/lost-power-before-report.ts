/**
 * A device stores a version and loses its power before the report of it leaves. What it stored is durable, and so is the
 * report: the same bytes go out when it is back, and nothing happens twice (I4).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { RouteAnswer } from '#schema/api/routes.ts';
import type { DeviceId, KeySetName, KeyVersionNumber, RolloutId } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';
import { NetworkTaps } from '../floor/tap.ts';
import { beginRotation } from '../operator/changes.ts';
import { untilRollout } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import { readUpdate } from '../verify/update-body.ts';
import type { RunningScenario } from './scenario.ts';

const STRUCK_PERCENT = 30;

export const lostPowerBeforeReport: RunningScenario = {
  name: 'lost-power-before-report',
  away: 'it lost power between storing and reporting',
  back: 'same report again, no second effect',
  needs: 'running',
  floor: { state: 'disk' },
  run: async (stage) => {
    const { keySet, floor } = stage;
    const taps = new NetworkTaps();
    const struck = stage.choose(STRUCK_PERCENT, 'struck');
    await stage.step('wired to lose power', async () => {
      await sendAway(stage, struck);
      await floor.switchOn(struck, { equipment: taps.equipment });
      await settle(stage);
    });
    const lost = powerCuts(stage, taps, struck);

    const { rollout, to } = await stage.step('rotation begun', () =>
      beginRotation(stage.operators, keySet, 'power is lost before the report'),
    );
    await stage.step(
      'power lost',
      async () => {
        await stage.untilObserved('every struck device has stored the version and lost its power', () =>
          struck.every((id) => lost.has(id) && stage.observed(id).phase === 'off'),
        );
      },
      undefined,
      struck.length,
    );
    const before = new Map(
      struck.map((id) => [id, { sent: taps.of(id).sent.length, updates: taps.of(id).updates.length }]),
    );
    await stage.step(
      'back',
      async (step) => {
        for (const id of struck) {
          taps.of(id).onSending(() => 'passes');
          taps.of(id).cut(false);
        }
        await floor.switchOn(struck, { equipment: taps.equipment });
        await untilRollout(stage, rollout, 'active');
        await settle(stage, struck, step);
      },
      undefined,
      struck.length,
    );

    stage.check('the report that was lost is the first thing that it sends', struck, ({ plan }) => {
      const first = taps.of(plan.id).sent.at(before.get(plan.id)?.sent ?? 0);
      const report = lost.get(plan.id);
      const isSame = first !== undefined && report !== undefined && Buffer.compare(first.payload, report) === 0;
      return isSame ? undefined : 'it sent another report';
    });
    stage.check('the version did not travel to it again', struck, ({ plan }) => {
      const later = taps.of(plan.id).updates.slice(before.get(plan.id)?.updates ?? 0);
      const times = later.filter(({ payload }) => carries(readUpdate(payload).keyrings, keySet, to)).length;
      return times === 0 ? undefined : `it was sent ${times} times more`;
    });
    const steps = await stage.step('the gateway’s history', () => settledHistory(stage, rollout, struck));
    stage.check('the gateway has recorded no step twice, and the last one', struck, ({ plan }) => {
      const own = steps.flatMap((step) => (step.kind === 'target' && step.device === plan.id ? [step.to] : []));
      const isOnce = new Set(own).size === own.length && own.at(-1) === 'active';
      return isOnce ? undefined : `it has recorded ${own.join(', ')}`;
    });
    stage.check('it stored the version once', struck, ({ accepted }) => {
      const spans = accepted.filter((span) => span.keySet === keySet && span.version === to);
      return spans.length === 1 ? undefined : `it began ${spans.length} times to accept ${keySet} ${to}`;
    });
  },
};

const carries = (keyrings: Update['keyrings'], keySet: KeySetName, version: KeyVersionNumber): boolean =>
  keyrings.some((ring) => ring.keySet === keySet && ring.keys.some((key) => key.version === version));

const PAGE = 1_000;

/** What the gateway has recorded of all targets, step by step. */
async function historyOf(stage: Stage, rollout: RolloutId): Promise<RouteAnswer<'rollout.history'>['items']> {
  const steps: RouteAnswer<'rollout.history'>['items'] = [];
  for (let after: number | undefined = 0; after !== undefined;) {
    const page: RouteAnswer<'rollout.history'> = await stage.client.call('rollout.history', {
      params: { id: rollout },
      query: { targets: 'true', after, limit: PAGE },
    });
    steps.push(...page.items);
    after = page.next ?? undefined;
  }
  return steps;
}

const ROUNDS = 40;
const BETWEEN_ROUNDS_MS = 250;

/** The history once it has the last report of each of these devices, which may still be on its way. */
async function settledHistory(
  stage: Stage,
  rollout: RolloutId,
  devices: readonly DeviceId[],
): Promise<RouteAnswer<'rollout.history'>['items']> {
  for (let round = 1; ; round += 1) {
    const steps = await historyOf(stage, rollout);
    const last = new Map(steps.flatMap((step) => (step.kind === 'target' ? [[step.device, step.to] as const] : [])));
    if (round === ROUNDS || devices.every((id) => last.get(id) === 'active')) return steps;
    await delay(BETWEEN_ROUNDS_MS);
  }
}

/** Each device loses its power in the moment when it would send the report on the version that it has stored. Fills what is returned. */
function powerCuts(stage: Stage, taps: NetworkTaps, devices: readonly DeviceId[]): ReadonlyMap<DeviceId, Uint8Array> {
  const lost = new Map<DeviceId, Uint8Array>();
  for (const id of devices) {
    const held = stage.observed(id).keyrings.get(stage.keySet)?.revision;
    taps.of(id).onSending(({ payload }) => {
      // What it reports before may be about something else: the time, after it was switched on.
      const isStored = stage.observed(id).keyrings.get(stage.keySet)?.revision !== held;
      if (!isStored) return 'passes';
      if (!lost.has(id)) {
        lost.set(id, payload);
        // Switching many off takes time, and what arrives meanwhile does not reach a machine without power.
        taps.of(id).cut(true);
        void stage.floor.switchOff([id], 'power-cut');
      }
      return 'lost';
    });
  }
  return lost;
}
