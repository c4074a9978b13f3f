/**
 * Devices stay away long after a version became active. They hold up no wave; an alert names the rollout that waits for
 * them, what they use is not retired under them (I11), and two people sign off those that will not return soon.
 */
import type { DeviceId } from '#schema/ids.ts';
import { beginRotation, retireVersion } from '../operator/changes.ts';
import { destroy, signOffStragglers, untilRollout, versionState } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import { IN_WAVES, untilView, WAVES_POLICY } from '../stage/waves.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 20;

export const stragglers: OwnScenario = {
  name: 'stragglers',
  away: 'a rotation went through its waves and came to its end',
  back: 'its own place: it held up no wave, the retirement waited for it or for a sign-off, one update is enough',
  needs: 'own',
  policy: WAVES_POLICY,
  run: async (stage) => {
    const { keySet, floor, chronicle } = stage;
    const away = stage.choose(AWAY_PERCENT, 'away', 2);
    const lost = away.filter((_, index) => index % 2 === 1);
    const late = stage.except(stage.except(away), lost);
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    const rotation = await stage.step(
      'through the waves',
      async () => {
        const begun = await beginRotation(stage.operators, keySet, 'in waves', IN_WAVES);
        await untilRollout(stage, begun.rollout, 'active');
        await settle(stage);
        return begun;
      },
      ({ from, to }) => `${keySet} ${from} to ${to}`,
    );
    const { rollout, from } = rotation;
    await stage.step('alert', () =>
      stage.until('there is an alert', async () => {
        const { items } = await stage.client.call('alert.list', { query: { open: 'true' } });
        return items.find((alert) => alert.code === 'rollout.stragglers' && alert.rollout === rollout);
      }),
    );
    await stage.step(
      'retirement waits',
      async () => {
        await retireVersion(stage.operators, rollout);
        await untilView(
          stage,
          rollout,
          'waits for the stragglers',
          ({ progress }) => progress.oldInUse === away.length,
        );
      },
      undefined,
      away.length,
    );
    const holding = await holders(stage, rotation.rollout);
    stage.check('it is named as what holds the retirement back', away, ({ plan }) =>
      holding.has(plan.id) ? undefined : 'it is not named',
    );
    const early = await versionState(stage, from);
    stage.confirm(
      'the old version is still accepted',
      early === 'deactivated' ? undefined : `it is ${early ?? 'gone'}`,
    );

    const applied = new Map(away.map((id) => [id, chronicle.of(id).applied.length]));
    await stage.step(
      'some come back',
      async (step) => {
        await floor.switchOn(late);
        await settle(stage, late, step);
      },
      undefined,
      late.length,
    );
    await stage.step(
      'the others signed off',
      async () => {
        await signOffStragglers(stage, rotation, lost);
        await untilRollout(stage, rollout, 'retired');
        await destroy(stage, rotation);
      },
      () => `${keySet} ${from} destroyed`,
      lost.length,
    );
    await stage.step(
      'they come back, too',
      async (step) => {
        await floor.switchOn(lost);
        await settle(stage, lost, step);
      },
      undefined,
      lost.length,
    );
    stage.check('one update brought it back', lost, ({ plan, applied: updates }) => {
      const taken = updates.length - (applied.get(plan.id) ?? 0);
      return taken === 1 ? undefined : `took ${taken} updates`;
    });
  },
};

/** The targets that still use what is to be retired. */
async function holders(stage: Stage, rollout: Parameters<typeof untilRollout>[1]): Promise<ReadonlySet<DeviceId>> {
  const found = new Set<DeviceId>();
  for (let after: DeviceId | undefined, isMore = true; isMore;) {
    const page = await stage.client.call('rollout.targets', {
      params: { id: rollout },
      query: { old: 'in-use', limit: 1_000, ...(after === undefined ? {} : { after }) },
    });
    for (const { device } of page.items) found.add(device);
    after = page.items.at(-1)?.device;
    isMore = page.next !== null;
  }
  return found;
}
