/**
 * Somebody has broken the network of every device of one wave: they refuse whatever they are sent. The rollout pauses by
 * itself, nobody of the next wave was touched, and it goes on when the devices are mended (D§9).
 */
import type { DeviceId } from '#schema/ids.ts';
import { NetworkTaps, type Carried } from '../floor/tap.ts';
import { beginRotation, resumeRollout, retryFailed } from '../operator/changes.ts';
import { untilRollout } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import { IN_WAVES, plannedWaves, untilView, STRICT_WAVES_POLICY, WAVE } from '../stage/waves.ts';
import type { OwnScenario } from './scenario.ts';

const ERRORS = 'rollout.errors-exceeded';

export const badWave: OwnScenario = {
  name: 'bad-wave',
  away: 'nothing: it refuses every update, and so does its whole wave',
  back: 'a rollout that has paused by itself, and goes on once the wave is mended',
  needs: 'own',
  policy: STRICT_WAVES_POLICY,
  run: async (stage) => {
    const { keySet, chronicle } = stage;
    const waves = await stage.step('planned', () => plannedWaves(stage));
    const bad = waves[WAVE.some] ?? [];
    const later = waves[WAVE.rest] ?? [];
    const taps = new NetworkTaps();
    await stage.step(
      'network broken',
      async () => {
        await rewire(stage, bad, taps);
        await settle(stage);
        for (const id of bad) taps.of(id).onReceiving(altered);
      },
      undefined,
      bad.length,
    );
    const { rollout, to } = await stage.step(
      'rotation begun',
      () => beginRotation(stage.operators, keySet, 'in waves, one of them bad', IN_WAVES),
      (begun) => `${keySet} ${begun.from} to ${begun.to}`,
    );
    const paused = await stage.step(
      'paused by itself',
      () => untilView(stage, rollout, 'pauses', ({ pause }) => pause !== null),
      ({ pause }) => pause?.reason ?? '',
    );
    stage.confirm(
      'it paused in the bad wave, for the errors',
      paused.pause?.code === ERRORS && paused.wave.index === WAVE.some
        ? undefined
        : `it paused in wave ${paused.wave.name} for ${paused.pause?.code ?? 'nothing'}`,
    );
    stage.check('the wave after it was not touched', later, ({ accepted }) =>
      accepted.some((span) => span.keySet === keySet && span.version === to) ? `holds ${keySet} ${to}` : undefined,
    );
    await stage.step('alert', () =>
      stage.until('there is an alert', async () => {
        const { items } = await stage.client.call('alert.list', { query: { open: 'true' } });
        return items.find((alert) => alert.code === ERRORS && alert.rollout === rollout);
      }),
    );
    const refusals = new Map(bad.map((id) => [id, chronicle.of(id).refused.length]));
    stage.check('it refused the update, and told so', bad, ({ plan, refused }) => {
      const codes = refused.map(({ code }) => code);
      const expected = codes.every((code) => code === 'message.signature-invalid');
      return (refusals.get(plan.id) ?? 0) > 0 && expected ? undefined : `refused as ${codes.join(', ') || 'nothing'}`;
    });
    await stage.step('mended, tried again', async () => {
      for (const id of bad) taps.of(id).onReceiving(({ payload }) => payload);
      await retryFailed(stage.operators, rollout);
      await resumeRollout(stage.operators, rollout, 'the network is mended');
    });
    await stage.step('rotated after all', async () => {
      await untilRollout(stage, rollout, 'active');
      await settle(stage);
    });
  },
};

/** Switches devices on behind taps. */
async function rewire(stage: Stage, devices: readonly DeviceId[], taps: NetworkTaps): Promise<void> {
  await sendAway(stage, devices);
  await stage.floor.switchOn(devices, { equipment: taps.equipment });
}

/** The end of an update is its signature. */
function altered({ topic, payload }: Carried): Uint8Array {
  if (!topic.endsWith('/update')) return payload;
  const copy = Uint8Array.from(payload);
  const last = copy.length - 1;
  copy[last] = (copy[last] ?? 0) ^ 0xff;
  return copy;
}
