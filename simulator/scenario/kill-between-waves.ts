/**
 * kill -9 of the gateway while a wave soaks, while the next one is distributed, during the activation and during the
 * destruction. Nothing needs repair: the rollout goes on where it was, and nothing happens twice (I8).
 */
import { beginRotation, destroyVersion } from '../operator/changes.ts';
import { retire, untilRollout } from '../stage/rotations.ts';
import { settle } from '../stage/settle.ts';
import type { OwnStage } from '../stage/stage.ts';
import { IN_WAVES, untilView, WAVE, WAVES_POLICY } from '../stage/waves.ts';
import type { OwnScenario } from './scenario.ts';

export const killBetweenWaves: OwnScenario = {
  name: 'kill-between-waves',
  away: 'nothing: the gateway was killed between waves, in the activation and in the destruction',
  back: 'the same rollout, which goes on; nothing needs repair',
  needs: 'own',
  policy: WAVES_POLICY,
  run: async (stage) => {
    const { keySet, operators } = stage;
    const rotation = await stage.step('rotation begun', () =>
      beginRotation(operators, keySet, 'the gateway is killed on the way', IN_WAVES),
    );
    const { rollout, from, to } = rotation;
    await stage.step('killed while a wave soaks', async () => {
      await untilView(stage, rollout, 'soaks', ({ wave }) => wave.index === WAVE.some && wave.settledAt !== null);
      await killAndStart(stage);
    });
    await stage.step('killed in the next wave', async () => {
      await untilView(stage, rollout, 'opens the next wave', ({ wave }) => wave.index === WAVE.rest);
      await killAndStart(stage);
    });
    await stage.step('killed in the activation', async () => {
      await untilRollout(stage, rollout, 'active');
      await killAndStart(stage);
      await settle(stage);
    });
    await stage.step('killed in the destruction', async () => {
      await retire(stage, rotation);
      await destroyVersion(stage.operators, rollout);
      await killAndStart(stage);
      await untilRollout(stage, rollout, 'destroyed');
      await settle(stage);
    });
    stage.check('it began once to accept the version, and once to use it', stage.devices, ({ accepted, used }) => {
      const count = (spans: typeof used): number =>
        spans.filter((span) => span.keySet === keySet && span.version === to).length;
      return count(accepted) === 1 && count(used) === 1
        ? undefined
        : `accepted ${count(accepted)} times, used ${count(used)} times`;
    });
    stage.check('the old version is gone', stage.devices, (_, { keyrings }) =>
      keyrings.get(keySet)?.versions.some(({ version }) => version === from) === true ? 'it is there' : undefined,
    );
  },
};

async function killAndStart({ gateway }: OwnStage): Promise<void> {
  await gateway.kill();
  await gateway.start();
}
