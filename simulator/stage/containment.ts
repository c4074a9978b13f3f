/** Devices that are shut out by what they report, and brought back by two people. */
import type { DeviceId } from '#schema/ids.ts';
import { reBaselineDevice } from '../operator/changes.ts';
import { settle, untilDisconnected } from './settle.ts';
import type { Stage } from './stage.ts';

/** Waits until the gateway has quarantined them for one of these reasons, and they are off the broker. */
export async function untilQuarantined(
  stage: Stage,
  devices: readonly DeviceId[],
  codes: readonly string[],
): Promise<void> {
  stage.expectedErrors.push('device quarantined');
  for (const id of devices) {
    let last = 'nothing';
    await stage.until(
      `${id} is quarantined for ${codes.join(' or ')}`,
      async () => {
        const { state, stateCode } = await stage.client.call('device.show', { params: { id } });
        last = `${state} ${stateCode ?? ''}`;
        return state === 'quarantined' && codes.includes(stateCode ?? '') ? true : undefined;
      },
      { otherwise: () => last },
    );
    stage.contained.add(id);
  }
  await untilDisconnected(stage, devices);
}

/** Waits until there is an open alert of this code for each device, and returns what they say. */
export async function untilAlerted(
  stage: Stage,
  devices: readonly DeviceId[],
  codes: readonly string[],
): Promise<ReadonlyMap<DeviceId, string>> {
  return stage.until(`there is an alert for each of ${devices.length} devices`, async () => {
    const { items } = await stage.client.call('alert.list', { query: { open: 'true', limit: 1_000 } });
    const relevant = items.filter(({ code }) => codes.includes(code));
    const found = new Map<DeviceId, string>();
    for (const id of devices) {
      const alert = relevant.find(({ device }) => device === id);
      if (alert !== undefined) found.set(id, alert.message);
    }
    return devices.every((id) => found.has(id)) ? found : undefined;
  });
}

/** One asks, another approves, for each of them; resolves when they are in step again. */
export async function bringBack(stage: Stage, devices: readonly DeviceId[], reason: string): Promise<void> {
  for (const id of devices) {
    await reBaselineDevice(stage.operators, id, reason);
    stage.contained.delete(id);
  }
  await settle(stage, devices);
}
