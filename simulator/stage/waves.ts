/** Rotations in waves: by a plan that services lead, then some of the devices, then the rest. */
import type { RolloutView } from '#schema/api/views.ts';
import type { DeviceId, RolloutId } from '#schema/ids.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import { ORDINARY_POLICY } from './ordinary-policy.ts';
import type { Stage } from './stage.ts';

/** Name of the plan, in the policy below. */
export const IN_WAVES = 'in-waves';
/** Indexes of its waves. */
export const WAVE = { services: 0, some: 1, rest: 2 } as const;

/** `timeout`: how long a connected device may leave a change unanswered. */
const inWaves = (timeout: string, retries: number): PolicyDocument => ({
  ...ORDINARY_POLICY,
  rollouts: {
    plans: {
      [IN_WAVES]: {
        waves: [
          { name: 'services', selector: { class: ['service'] } },
          { name: 'some', percent: 30, soak: '2s' },
          { name: 'rest', rest: true },
        ],
        errors: 0.1,
        timeout,
        retries,
        stragglers: { action: 'propose', after: '2s' },
      },
    },
  },
});

export const WAVES_POLICY = inWaves('60s', 5);
/** Soon at its end with devices that do not answer. */
export const STRICT_WAVES_POLICY = inWaves('4s', 1);

/** Which device would be in which wave, by the gateway's dry run. */
export async function plannedWaves(stage: Stage): Promise<readonly (readonly DeviceId[])[]> {
  const change = { kind: 'key-version', keySet: stage.keySet } as const;
  const { waves } = await stage.client.call('rollout.plan', { body: { change, plan: IN_WAVES, all: true } });
  return waves.map(({ members }) => members.map(({ device }) => device));
}

/** Waits until the rollout looks like this. Errors: `network.timeout`. */
export async function untilView(
  stage: Stage,
  rollout: RolloutId,
  what: string,
  isSo: (view: RolloutView) => boolean,
): Promise<RolloutView> {
  let last = 'nothing';
  return stage.until(
    `the rollout ${what}`,
    async () => {
      const view = await stage.client.call('rollout.show', { params: { id: rollout } });
      last = `${view.state}, wave ${view.wave.name}${view.hold === null ? '' : `: ${view.hold}`}`;
      return isSo(view) ? view : undefined;
    },
    { otherwise: () => last },
  );
}
