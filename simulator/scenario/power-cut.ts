/**
 * The whole property loses its power in the middle of a rotation, and everything comes back in the same moment. The gateway
 * has a battery. It serves everybody, and what waits in it stays bounded by what a device may cost.
 */
import { systemClock } from '#schema/runtime/clock.ts';
import { beginRotation } from '../operator/changes.ts';
import { residentOctets } from '../operator/metrics.ts';
import { untilRollout } from '../stage/rotations.ts';
import { settle, untilDisconnected } from '../stage/settle.ts';
import type { RunningScenario } from './scenario.ts';

/** What a connected device may hold in the gateway at the worst moment, with its TLS connection and what waits for it. */
const OCTETS_PER_DEVICE = 512 * 1024;
/** What the gateway itself may need more than before, whatever the number of devices. */
const OCTETS_BESIDES = 128 * 1024 * 1024;
const SAMPLE_MS = 250;

export const powerCut: RunningScenario = {
  name: 'power-cut',
  away: 'the whole property had a power cut',
  back: 'all at once: converged, no queue without bound, back-pressure where needed',
  needs: 'running',
  floor: { state: 'disk', handshakes: 'all' },
  run: async (stage) => {
    const { floor, devices, keySet } = stage;
    const { rollout } = await stage.step('rotation begun', () =>
      beginRotation(stage.operators, keySet, 'the power fails in the middle of it'),
    );
    await stage.step('power cut', () => floor.switchOff(devices, 'power-cut'), undefined, devices.length);
    await stage.step('noticed', () => untilDisconnected(stage, devices));
    const quiet = await residentOctets(stage.client);
    let highest = quiet;
    const cancel = sampled(async () => {
      highest = Math.max(highest, await residentOctets(stage.client));
    });
    const returned = systemClock.now().getTime();
    try {
      await stage.step(
        'all back at once',
        async (step) => {
          await floor.switchOn(devices, { atOnce: devices.length });
          await settle(stage, devices, step);
        },
        undefined,
        devices.length,
      );
      await stage.step('rotated after all', async () => {
        await untilRollout(stage, rollout, 'active');
        await settle(stage);
      });
    } finally {
      await cancel();
    }
    const grown = highest - quiet;
    const bound = OCTETS_BESIDES + OCTETS_PER_DEVICE * devices.length;
    stage.confirm(
      'the gateway grew by no more than a bound',
      grown <= bound ? undefined : `it grew by ${mebi(grown)} MiB, where ${mebi(bound)} are enough`,
    );
    stage.check('it was turned away for a while at most', devices, ({ connections, errors }) => {
      const last = connections.at(-1);
      const refusals = errors.filter(({ at }) => at >= returned).length;
      return last !== undefined && last.from >= returned ? undefined : `it did not connect; ${refusals} errors`;
    });
  },
};

const mebi = (octets: number): number => Math.round(octets / (1024 * 1024));

/** Calls `look` again and again; what is returned ends that. */
function sampled(look: () => Promise<void>): () => Promise<void> {
  let isOver = false;
  const run = async (): Promise<void> => {
    while (!isOver) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  };
  const running = run();
  return async () => {
    isOver = true;
    await running;
  };
}
