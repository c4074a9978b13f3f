/** kill -9 of the gateway at every stage of a rollout: the next one goes on where it was, and nothing needs repair (I8). */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { targetsOf } from '#gateway/rollout/targets.ts';
import type { RolloutId } from '#schema/ids.ts';
import { floorAgrees } from '#test/support/agreement.ts';
import { FLOOR_POLICY, WALLET, type Casino } from '#test/support/casino.ts';
import { PIT_FIRST, startPitFloor } from '#test/support/pit-floor.ts';
import { RolloutDesk, Sightings } from '#test/support/rollout-desk.ts';
import { Valve } from '#test/support/valve.ts';

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    waves:
      ${PIT_FIRST}
    soaking:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } }, soak: 3s }
        - { name: others, rest: true }
`;

let casino: Casino;
let desk: RolloutDesk;
const valve = new Valve();

beforeAll(async () => {
  casino = await startPitFloor({ floor: { egm: 3, service: 1 }, policy: POLICY, child: true }, valve);
  desk = new RolloutDesk(casino);
});

beforeEach(async () => {
  valve.turn('open');
  await casino.untilConverged();
});

afterAll(() => casino.close());

const record = async (id: RolloutId): Promise<RolloutRecord> => {
  const found = (await casino.store.rollout(id))?.rollout;
  if (found === undefined) throw new Error(`there is no rollout ${id}`);
  return found;
};

/** Waits for the moment, looking into the database, and kills the gateway there. */
async function killWhen(id: RolloutId, isMoment: (rollout: RolloutRecord) => boolean): Promise<RolloutRecord> {
  await casino.until(
    async () => isMoment(await record(id)),
    () => record(id),
  );
  await casino.stopGateway('kill');
  return record(id);
}

async function goesOn(id: RolloutId): Promise<void> {
  await casino.startGateway();
  await casino.untilRollout(id, 'active');
  await floorAgrees(casino);
  const { toVersion } = await casino.keyRollout(id);
  for (const device of casino.devices.values())
    expect(device.holds(), device.id).toEqual(expect.arrayContaining([`${toVersion} active`]));
}

describe('given a rotation that has begun', { timeout: 90_000 }, () => {
  test('when the gateway dies while its targets are recorded, then the next one records the others, each in its place', async () => {
    const rotation = await casino.prepareRotation();
    await casino.stopGateway('kill');
    await rotation.commit();
    const rollout = await record(rotation.id);
    const keySet = await casino.store.keySet(WALLET);
    const devices = await casino.store.planDevices(keySet?.selector ?? {}, '', 100);
    const targets = targetsOf(rollout, keySet?.selector ?? {}, devices);
    await casino.store.addTargets(rollout.id, targets.slice(0, 2), rollout.createdAt);
    expect(await record(rotation.id)).toMatchObject({ state: 'approved', preparedAt: undefined });

    await goesOn(rotation.id);
    const places = (await casino.store.rolloutTargets(rotation.id, { limit: 100 })).map(
      ({ device, wave, position, service }) => ({ device, wave, position, service }),
    );
    const planned = targets.map(({ device, wave, position, service }) => ({ device, wave, position, service }));
    expect(places).toEqual([...planned].sort((a, b) => (a.device < b.device ? -1 : 1)));
    expect((await desk.trail(rotation.id)).filter((action) => action === 'rollout.prepare')).toHaveLength(1);
  });

  test('when it dies the moment that it answered, then what was approved is carried out once', async () => {
    const id = await desk.rotate({ plan: 'waves' });
    await killWhen(id, () => true);
    await goesOn(id);
    const begun = (await casino.auditRecords()).filter(
      ({ action, details }) => action === 'keyset.rotate' && details?.['rollout'] === id,
    );
    expect(begun).toHaveLength(1);
    const approvals = await casino.as('alan', (api) => api.call('approval.list', { query: { limit: 1 } }));
    expect(['executed', 'failed'], 'the approval is closed either way').toContain(approvals.items[0]?.state);
  });

  test('when it dies within a wave, then the next wave is not opened before this one has passed', async () => {
    valve.turn('holding');
    const sightings = new Sightings(casino);
    const id = await desk.rotate({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-1', 'stored');
    const { wave, toVersion } = { ...(await casino.keyRollout(id)), ...(await killWhen(id, () => true)) };
    expect(wave).toBe(0);
    const back = casino.device('pit-a-2');
    await back.off();
    await casino.startGateway();
    await casino.until(
      async () => (await casino.detail('egm-1')).sync.connected,
      () => 'the floor on the new gateway',
    );
    await casino.untilConverged('egm-1', 'egm-2', 'egm-3', 'pit-a-1', 'service-1');
    expect((await record(id)).wave, 'who was there a moment ago is waited for').toBe(0);
    await back.on({ transport: valve.factory });
    await casino.until(
      async () => (await casino.detail('egm-1')).sync.connected && (await casino.detail('pit-a-2')).sync.connected,
      () => 'the floor on the new gateway',
    );
    await casino.untilConverged('egm-1', 'egm-2', 'egm-3', 'pit-a-1', 'service-1');
    expect(sightings.at('egm-1', `wallet-kek ${toVersion} stored`)).toBe(-1);
    valve.turn('open');
    await casino.untilRollout(id, 'active');
    await floorAgrees(casino);
    for (const device of ['egm-1', 'egm-2', 'egm-3'])
      expect(sightings.at(device, `wallet-kek ${toVersion} stored`)).toBeGreaterThan(
        sightings.at('pit-a-2', `wallet-kek ${toVersion} stored`),
      );
  });

  test('when it dies while a wave soaks, then the soak is neither begun anew nor cut short', async () => {
    const id = await desk.rotate({ plan: 'soaking' });
    const dead = await killWhen(id, ({ waveSettledAt }) => waveSettledAt !== undefined);
    expect(dead).toMatchObject({ wave: 0, state: 'distributing' });
    await goesOn(id);
    const [opened] = (await desk.records(id)).filter(({ action }) => action === 'rollout.wave-opened');
    const soaked = new Date(opened?.time ?? 0).getTime() - (dead.waveSettledAt?.getTime() ?? 0);
    expect(soaked).toBeGreaterThanOrEqual(3_000);
    expect((await desk.trail(id)).filter((action) => action === 'rollout.wave-soaks')).toHaveLength(1);
  });

  test('when it dies during the activation, then every device uses the version, and none before it was activated', async () => {
    const id = await desk.rotate();
    const dead = await killWhen(id, ({ state }) => state === 'ready' || state === 'active');
    expect(['ready', 'active']).toContain(dead.state);
    await goesOn(id);
    expect((await desk.trail(id)).filter((action) => action === 'rollout.active')).toHaveLength(1);
  });
});

describe('given an activated rotation with one device away', { timeout: 90_000 }, () => {
  test('when the gateway dies during retirement and during destruction, then both come to their end', async () => {
    const away = casino.device('egm-3');
    await away.off();
    const id = await desk.rotate();
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    await desk.retire(id);
    const { fromVersion: old } = await casino.keyRollout(id);
    expect(await killWhen(id, () => true)).toMatchObject({ state: 'retiring', retiredAt: undefined });
    await casino.startGateway();
    await away.on();
    await casino.untilRollout(id, 'retired');
    await floorAgrees(casino);

    await away.off();
    await desk.destroy(id);
    const dead = await killWhen(id, ({ state }) => state === 'destroying' || state === 'destroyed');
    expect(dead.state).toBe('destroying');
    const version = (await casino.store.keySet(WALLET))?.versions.find((entry) => entry.version === old);
    expect(version, 'destroyed in the gateway before it died').toMatchObject({
      state: 'destroyed',
      wrapped: undefined,
    });
    await casino.startGateway();
    await desk.until(id, ({ progress }) => progress.oldHeld === 1);
    const { holds } = await desk.show(id);
    expect(holds).toMatchObject([{ reason: 'old-held', devices: [{ device: 'egm-3', connected: false }] }]);
    await away.on();
    await casino.untilRollout(id, 'destroyed');
    await floorAgrees(casino);
    for (const device of casino.devices.values())
      expect(
        device.holds().some((held) => Number.parseInt(held, 10) <= old),
        device.id,
      ).toBe(false);
  });

  test('when it dies after an abort, then the version goes from those that had stored it', async () => {
    valve.turn('holding');
    const id = await desk.rotate({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-1', 'stored');
    await casino.device('pit-a-1').off();
    await desk.abort(id, 'an exercise');
    await casino.stopGateway('kill');
    valve.turn('open');
    await casino.startGateway();
    await casino.device('pit-a-1').on();
    await floorAgrees(casino);
    const { toVersion } = await casino.keyRollout(id);
    for (const device of casino.devices.values())
      expect(
        device.holds().some((held) => held.startsWith(`${toVersion} `)),
        device.id,
      ).toBe(false);
  });
});
