/**
 * The clock of a device died while it was away. It shows 1970, 2000 or ten years ahead, and learns the time from the
 * answer to its own nonce: nothing that is right is refused, and what is old is not taken for new.
 */
import type { DeviceId } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { deadClock } from '../floor/equipment.ts';
import { NetworkTaps, type Carried } from '../floor/tap.ts';
import { publishTrust } from '../operator/changes.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import type { RunningScenario } from './scenario.ts';

const AWAY_PERCENT = 30;
/** Between the gateway's word and what is read here. */
const TOLERANCE_MS = 5_000;

const tenYearsAhead = (): Date => {
  const now = systemClock.now();
  return new Date(Date.UTC(now.getUTCFullYear() + 10, now.getUTCMonth(), now.getUTCDate()));
};

const SHOWN: readonly (() => Date)[] = [() => new Date(0), () => new Date('2000-01-01T00:00:00Z'), tenYearsAhead];

export const deadClocks: RunningScenario = {
  name: 'dead-clock',
  away: 'its clock died: 1970, 2000, or ten years ahead',
  back: 'trusted time by nonce; nothing refused wrongly, nothing accepted wrongly',
  needs: 'running',
  run: async (stage) => {
    const { floor } = stage;
    const taps = new NetworkTaps();
    const away = stage.choose(AWAY_PERCENT, 'away', SHOWN.length);
    const shown = new Map(away.map((id, index) => [id, SHOWN[index % SHOWN.length] ?? tenYearsAhead]));
    const recorded = await stage.step('an update recorded', () => recordUpdates(stage, taps, away));

    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    await stage.step('a rotation and a trust bundle', async () => {
      await publishTrust(stage.operators, 'while devices are away');
      await rotate(stage, 'while devices are away');
    });
    const returned = systemClock.now().getTime();
    await stage.step(
      'back with dead clocks',
      async (step) => {
        await floor.switchOn(away, {
          equipment: (plan) => ({
            ...taps.equipment(plan),
            clock: deadClock(systemClock, shown.get(plan.id)?.() ?? tenYearsAhead()),
          }),
        });
        await settle(stage, away, step);
      },
      undefined,
      away.length,
    );
    checkTime(stage, away, returned);
    stage.check('it renewed its certificate once at most', away, ({ serials }) => {
      const renewals = [...serials.values()].filter((at) => at >= returned).length;
      return renewals <= 1 ? undefined : `renewed it ${renewals} times`;
    });
    stage.check('nothing was refused', away, ({ refused, errors }) => {
      // A report may be on its way when the connection is made anew with a renewed certificate.
      const refusals = [...refused, ...errors].filter(({ at, code }) => at >= returned && !code.startsWith('network.'));
      return refusals.length === 0 ? undefined : `refused ${refusals.map(({ code }) => code).join(', ')}`;
    });
    await stage.step('the old update again', () => replay(stage, taps, recorded), undefined, away.length);
  },
};

/** Taps the devices, and has an update sent to each of them. */
async function recordUpdates(
  stage: Stage,
  taps: NetworkTaps,
  devices: readonly DeviceId[],
): Promise<ReadonlyMap<DeviceId, Carried>> {
  await sendAway(stage, devices);
  await stage.floor.switchOn(devices, { equipment: taps.equipment });
  await rotate(stage, 'an update to record');
  return new Map(
    devices.flatMap((id) => {
      const latest = taps.of(id).updates.at(-1);
      return latest === undefined ? [] : [[id, latest]];
    }),
  );
}

function checkTime(stage: Stage, devices: readonly DeviceId[], returned: number): void {
  stage.check('it learned the time', devices, ({ plan, clocks }) => {
    const learned = clocks.find(({ at }) => at >= returned);
    if (learned === undefined) return 'it was told no time';
    const { now, trusted } = stage.floor.device(plan.id).running.status().clock;
    const wrongBy = Math.max(
      Math.abs(learned.now.getTime() - learned.at),
      Math.abs(now.getTime() - systemClock.now().getTime()),
    );
    if (!trusted) return 'it does not trust its time';
    return wrongBy <= TOLERANCE_MS ? undefined : `it is wrong by ${wrongBy} ms`;
  });
}

/** Who owns the broker sends what was true once; each device refuses it, and holds what it held. */
async function replay(stage: Stage, taps: NetworkTaps, recorded: ReadonlyMap<DeviceId, Carried>): Promise<void> {
  const { chronicle } = stage;
  const devices = [...recorded.keys()];
  const applied = new Map(devices.map((id) => [id, chronicle.of(id).applied.length]));
  const refused = new Map(devices.map((id) => [id, chronicle.of(id).refused.length]));
  for (const [id, update] of recorded)
    await stage.until(`${id} is connected`, async () => (taps.of(id).inject(update) ? true : undefined));
  await stage.untilObserved('every device refuses the old update', () =>
    devices.every((id) => chronicle.of(id).refused.length > (refused.get(id) ?? 0)),
  );
  await settle(stage, devices);
  stage.check('an old update is refused and changes nothing', devices, (history) => {
    const latest = history.refused.at(-1);
    if (latest?.code !== 'message.replayed') return `refused with ${latest?.code ?? 'nothing'}`;
    const taken = history.applied.length - (applied.get(history.plan.id) ?? 0);
    return taken === 0 ? undefined : `took ${taken} updates`;
  });
}
