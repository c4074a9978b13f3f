/**
 * Somebody copies the disk of a device and runs the copy beside it. Their reports fork; whoever of the two speaks is shut
 * out, and the alert says where each was. The owner gives the device a new key, which makes the copy worthless.
 */
import type { DeviceId } from '#schema/ids.ts';
import type { SimulatedDevice } from '../floor/device.ts';
import { FloorObserver } from '../floor/observer.ts';
import { openRelay, type Relay } from '../floor/relay.ts';
import { reBaselineDevice } from '../operator/changes.ts';
import { issueTickets } from '../operator/tickets.ts';
import { untilAlerted, untilQuarantined } from '../stage/containment.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import type { RunningScenario } from './scenario.ts';

const CLONED_PERCENT = 4;
/** A copy that is a report behind by the time it speaks cannot be told from a restored image. */
const CODES = ['report.forked', 'report.regressed'];
/** Where the copies are: an address of every Linux machine besides its own. */
const ELSEWHERE = '127.0.0.2';

interface Twin {
  readonly device: SimulatedDevice;
  readonly observer: FloorObserver;
}

export const cloned: RunningScenario = {
  name: 'cloned',
  away: 'it was cloned',
  back: 'fork found by counter and digest, both quarantined, alert says where each connected from',
  needs: 'running',
  floor: { state: 'disk' },
  run: async (stage) => {
    const chosen = stage.choose(CLONED_PERCENT, 'cloned');
    const { mqtt } = stage.gateway.addresses;
    const { hostname, port } = new URL(mqtt);
    const relay = await openRelay({ host: hostname, port: Number(port) }, ELSEWHERE);
    try {
      await play(stage, chosen, relay);
    } finally {
      await relay.close();
    }
  },
};

async function play(stage: Stage, chosen: readonly DeviceId[], relay: Relay): Promise<void> {
  const twins = await stage.step('copied', () => copyAll(stage, chosen, relay), undefined, chosen.length);
  try {
    await stage.step(
      'both on',
      async () => {
        for (const { device } of twins.values()) await device.switchOn();
        await untilQuarantined(stage, chosen, CODES);
        await stage.until('every copy is off the broker', async () => (isAnyConnected(twins) ? undefined : true));
      },
      () => 'quarantined',
      chosen.length,
    );
    const alerts = await stage.step('alerts', () => untilAlerted(stage, chosen, CODES), undefined, chosen.length);
    stage.check('the alert says where each of the two was', chosen, ({ plan }) => {
      const message = alerts.get(plan.id) ?? '';
      const missing = ['127.0.0.1', ELSEWHERE].filter((address) => !message.includes(address));
      return missing.length === 0 ? undefined : `the alert does not name ${missing.join(', ')}: ${message}`;
    });

    await stage.step('copies switched off', async () => {
      for (const { device } of twins.values()) await device.switchOff('power-cut');
    });
    await stage.step('brought back with new keys', () => rekey(stage, chosen), undefined, chosen.length);
    await stage.step('copies on again', async () => {
      for (const { device } of twins.values()) await device.switchOn();
      await stage.until('every copy is refused', async () => (areAllRefused(twins) ? true : undefined));
    });
    stage.check('the copy is refused, and nobody minds', chosen, ({ plan }, device) => {
      const twin = twins.get(plan.id);
      if (twin === undefined || isConnected(twin)) return 'the copy is connected';
      return device.phase === 'connected' ? undefined : `the device is ${device.phase}`;
    });
  } finally {
    for (const { device } of twins.values()) await device.switchOff('power-cut');
  }
}

async function copyAll(stage: Stage, devices: readonly DeviceId[], relay: Relay): Promise<ReadonlyMap<DeviceId, Twin>> {
  const { floor, gateway } = stage;
  const elsewhere = { ...gateway.addresses, mqtt: `mqtts://127.0.0.1:${relay.port}` };
  const twins = new Map<DeviceId, Twin>();
  await sendAway(stage, devices, 'orderly');
  for (const id of devices) {
    const original = floor.device(id);
    const observer = new FloorObserver([original.plan]);
    const device = await original.clone(await original.image(), observer, elsewhere);
    twins.set(id, { device, observer });
  }
  await floor.switchOn(devices);
  await settle(stage);
  return twins;
}

const isConnected = ({ device, observer }: Twin): boolean => observer.of(device.plan.id)?.phase === 'connected';

const isAnyConnected = (twins: ReadonlyMap<DeviceId, Twin>): boolean => [...twins.values()].some(isConnected);

const areAllRefused = (twins: ReadonlyMap<DeviceId, Twin>): boolean =>
  [...twins.values()].every(({ observer }) => (observer.faultCodes().get('broker.denied') ?? 0) > 0);

/**
 * A technician comes with tickets: whoever of the two renewed last, the device has a certificate after that which the copy
 * has not.
 */
async function rekey(stage: Stage, devices: readonly DeviceId[]): Promise<void> {
  const { floor } = stage;
  await floor.switchOff(devices, 'orderly');
  for (const id of devices) {
    await reBaselineDevice(stage.operators, id, 'the copy was found');
    stage.contained.delete(id);
  }
  floor.handOut(await issueTickets(stage.operators, devices));
  const known = new Map(devices.map((id) => [id, new Set(stage.chronicle.of(id).serials.keys())]));
  const isNew = (id: DeviceId): boolean => {
    const { serial, phase } = stage.observed(id);
    return phase === 'connected' && serial !== undefined && known.get(id)?.has(serial) === false;
  };
  await floor.switchOn(devices);
  await settle(stage, devices);
  for (const id of devices) if (!isNew(id)) await floor.device(id).running.renew();
  await stage.untilObserved('every device uses a new certificate', () => devices.every(isNew));
  await settle(stage, devices);
}
