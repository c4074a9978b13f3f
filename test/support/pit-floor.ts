/** A floor with a pit, for rollouts in which the devices of the pit come first. */
import type { Valve } from './valve.ts';
import { startCasino, type Casino, type CasinoOptions } from './casino.ts';

export const PIT_A = ['pit-a-1', 'pit-a-2'];

/** Lines of a policy, below `rollouts` and `plans`: the pit, then the others. */
export const PIT_FIRST = `waves:
        - { name: pit-a, selector: { labels: { pit: a } } }
        - { name: others, rest: true }`;

/** Everybody is on; what the second device of the pit receives comes through the valve. */
export async function startPitFloor(options: CasinoOptions, valve: Valve): Promise<Casino> {
  const casino = await startCasino(options);
  await casino.addDevices(PIT_A.map((id) => ({ id, class: 'egm', labels: { pit: 'a' } })));
  for (const device of casino.devices.values())
    await device.on(device.id === PIT_A[1] ? { transport: valve.factory } : {});
  return casino;
}
