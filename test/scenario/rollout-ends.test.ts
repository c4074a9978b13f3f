/** How rollouts end before or besides their time: exempted and signed-off devices, abort, supersession, compromise. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { RolloutId } from '#schema/ids.ts';
import { FLOOR_POLICY, startCasino, WALLET, type Casino } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { PIT_FIRST } from '#test/support/pit-floor.ts';
import { RolloutDesk, Sightings } from '#test/support/rollout-desk.ts';
import { Valve } from '#test/support/valve.ts';

/** A minute of the day that is twelve hours away: the window of the annex is shut while the test runs. */
const FAR = new Date(Date.now() + 12 * 3_600_000);

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    waves:
      ${PIT_FIRST}
  windows:
    annex: { cron: '${FAR.getUTCMinutes()} ${FAR.getUTCHours()} * * *', duration: 1h }
`;

let casino: Casino;
let desk: RolloutDesk;
const valves = new Map<string, Valve>();

const valveOf = (id: string): Valve => {
  const valve = valves.get(id) ?? new Valve();
  valves.set(id, valve);
  return valve;
};

async function switchOn(id: string): Promise<void> {
  await casino.device(id).on({ transport: valveOf(id).factory });
}

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 }, policy: POLICY });
  desk = new RolloutDesk(casino);
  await casino.addDevices([
    { id: 'pit-a-1', class: 'egm', labels: { pit: 'a' } },
    { id: 'pit-a-2', class: 'egm', labels: { pit: 'a' } },
  ]);
  for (const id of casino.devices.keys()) await switchOn(id);
});

beforeEach(async () => {
  for (const device of casino.devices.values()) if (!device.isOn) await switchOn(device.id);
  for (const valve of valves.values()) valve.turn('open');
  await casino.untilConverged();
});

afterAll(() => casino.close());

async function versionsOf(id: RolloutId): Promise<{ readonly old: number; readonly next: number }> {
  const { fromVersion: old, toVersion: next } = await casino.keyRollout(id);
  return { old, next };
}

const stateOf = async (version: number) =>
  (await casino.store.keySet(WALLET))?.versions.find((entry) => entry.version === version);

/** A rollout that stands in its first wave, since one device there is kept waiting; the other has stored the version. */
async function inFirstWave(): Promise<RolloutId> {
  valveOf('pit-a-2').turn('holding');
  const id = await desk.rotate({ plan: 'waves' });
  await desk.untilTarget(id, 'pit-a-1', 'stored');
  await desk.untilTarget(id, 'pit-a-2', 'offered');
  return id;
}

async function allUse(version: number): Promise<void> {
  await casino.untilConverged();
  for (const device of casino.devices.values())
    expect(device.holds(), device.id).toEqual(expect.arrayContaining([`${version} active`]));
}

describe('given a device that holds a rollout up', () => {
  test('when it is exempted with a reason, then the rollout goes on without it, and it keeps what it uses until two people sign it off', async () => {
    const id = await inFirstWave();
    const { old, next } = await versionsOf(id);
    valveOf('pit-a-2').turn('losing');
    await expectRefusal('device.not-found', () => desk.exempt(id, 'a typing error', 'egm-9'));
    await desk.exempt(id, 'the drop box is open', 'pit-a-2');
    await casino.untilRollout(id, 'active');
    await desk.untilTarget(id, 'egm-1', 'active');
    valveOf('pit-a-2').turn('open');
    const [target] = (await casino.store.rolloutTargets(id, { states: ['exempt'], limit: 9 })).values();
    expect(target).toMatchObject({ device: 'pit-a-2', reason: 'the drop box is open', old: 'in-use' });
    await casino.untilConverged('egm-1', 'egm-2', 'pit-a-1', 'pit-a-2', 'service-1');
    expect(casino.device('pit-a-2').holds()).toEqual(expect.arrayContaining([`${old} active`]));
    expect(casino.device('pit-a-2').holds()).not.toContain(`${next} active`);

    await desk.retire(id);
    const { holds } = await desk.until(id, ({ state, progress }) => state === 'retiring' && progress.oldInUse === 1);
    expect(holds).toMatchObject([{ reason: 'old-in-use', devices: [{ device: 'pit-a-2', state: 'exempt' }] }]);
    await desk.signOff(id, 'it is being scrapped', 'pit-a-2');
    await casino.untilRollout(id, 'retired');
    await allUse(next);
    const [signed] = (await desk.records(id)).filter(({ action }) => action === 'rollout.sign-off');
    expect(signed).toMatchObject({
      actor: { id: 'grace' },
      approval: { approvers: ['alan'] },
      details: { reason: 'it is being scrapped', named: ['pit-a-2'] },
    });
    await expectRefusal('rollout.state-refused', () => desk.exempt(id, 'too late', 'egm-1'));
  });

  test('when a straggler is away, then nothing is retired or destroyed without the word of two, and it gets the present keyring on its return', async () => {
    const away = casino.device('egm-2');
    await away.off();
    const id = await desk.rotate();
    const { old, next } = await versionsOf(id);
    await expectRefusal('rollout.state-refused', () => desk.signOff(id, 'too early', 'egm-2'));
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    await desk.retire(id);
    const { holds } = await desk.until(id, ({ state, progress }) => state === 'retiring' && progress.oldInUse === 1);
    expect(holds).toMatchObject([
      { reason: 'old-in-use', targets: 1, devices: [{ device: 'egm-2', connected: false, state: 'pending' }] },
    ]);
    await expectRefusal('rollout.state-refused', () => desk.destroy(id));
    expect((await stateOf(old))?.retiredAt).toBeUndefined();

    await desk.signOff(id, 'in the warehouse until spring', 'egm-2');
    await casino.untilRollout(id, 'retired');
    await desk.destroy(id);
    await casino.untilRollout(id, 'destroyed');
    expect(await stateOf(old)).toMatchObject({ state: 'destroyed', wrapped: undefined });
    expect(await desk.trail(id)).toEqual([
      'rollout.prepare',
      'rollout.distributing',
      'rollout.ready',
      'rollout.active',
      'rollout.retiring',
      'rollout.sign-off',
      'rollout.retired',
      'rollout.destroying',
      'rollout.destroyed',
    ]);

    await switchOn('egm-2');
    await allUse(next);
    expect(
      away.holds().map((held) => Number.parseInt(held, 10)),
      'the old version is gone from it, too',
    ).not.toContain(old);
    expect(away.run.all('update-applied')).toHaveLength(1);
  });
});

describe('given a rollout within its first wave', () => {
  test('when it is aborted, then the version is destroyed wherever it arrived, and the next rotation takes another number', async () => {
    const id = await inFirstWave();
    const { old, next } = await versionsOf(id);
    await desk.abort(id, 'the wrong quarter');
    valveOf('pit-a-2').turn('open');
    await casino.untilRollout(id, 'aborted');
    await casino.untilConverged();
    expect(await stateOf(next)).toMatchObject({ state: 'destroyed', wrapped: undefined });
    for (const device of casino.devices.values()) {
      expect(device.holds(), device.id).toContain(`${old} active`);
      expect(
        device.holds().some((held) => held.startsWith(`${next} `)),
        device.id,
      ).toBe(false);
    }
    const receipts = (await casino.detail('pit-a-1')).versions.find(
      ({ keySet, version }) => keySet === WALLET && version === next,
    );
    expect(receipts).toMatchObject({ state: 'destroyed' });
    const [aborted] = (await desk.records(id)).filter(({ action }) => action === 'rollout.aborted');
    expect(aborted).toMatchObject({ actor: { id: 'grace' }, details: { reason: 'the wrong quarter' } });

    const again = await desk.rotate();
    await casino.untilRollout(again, 'active');
    await allUse(next + 1);
    await expectRefusal('rollout.state-refused', () => desk.abort(again, 'too late'));
  });

  test('when another rotation is asked for, then it is refused unless it supersedes the first, whose version goes', async () => {
    const id = await inFirstWave();
    const { next } = await versionsOf(id);
    const refusal = await expectRefusal('keyset.rotation-under-way', () => desk.rotate());
    expect(refusal.message).toContain(id);
    const successor = await desk.rotate({ supersede: true });
    valveOf('pit-a-2').turn('open');
    expect((await desk.show(id)).state).toBe('superseded');
    await casino.untilRollout(successor, 'active');
    await allUse(next + 1);
    expect(await stateOf(next)).toMatchObject({ state: 'destroyed' });
    for (const device of casino.devices.values())
      expect(
        device.holds().some((held) => held.startsWith(`${next} `)),
        device.id,
      ).toBe(false);
    expect(await desk.trail(id)).toContain('rollout.superseded');
  });

  test('when its version is compromised, then it is destroyed and its successor reaches everybody at once', async () => {
    const id = await inFirstWave();
    const { old, next } = await versionsOf(id);
    const successor = await desk.compromise(next);
    valveOf('pit-a-2').turn('open');
    expect((await desk.show(id)).state).toBe('compromised');
    await casino.untilRollout(successor, 'active');
    await allUse(next + 1);
    expect(await stateOf(next)).toMatchObject({ state: 'compromised', wrapped: undefined });
    expect(await stateOf(old)).toMatchObject({ state: 'deactivated' });
    for (const device of casino.devices.values())
      expect(
        device.holds().some((held) => held.startsWith(`${next} `)),
        device.id,
      ).toBe(false);
  });
});

describe('given a version in use that is compromised, and a site whose window is shut', () => {
  test('when one person declares it, then the successor reaches everybody at once, windows and waves ignored', async () => {
    await casino.addDevices([{ id: 'annex-1', class: 'kiosk', site: 'annex' }]);
    await switchOn('annex-1');
    await casino.untilConverged('annex-1');
    const ordinary = await desk.rotate({ plan: 'waves' });
    await casino.until(
      async () => (await desk.states(ordinary))['egm-1'] === 'stored',
      () => desk.states(ordinary),
    );
    const { old: active, next: waiting } = await versionsOf(ordinary);
    expect(casino.device('annex-1').holds(), 'its window is shut').not.toContain(`${waiting} stored`);
    const sightings = new Sightings(casino);

    const id = await desk.compromise(active);
    const { next } = await versionsOf(id);
    expect(await desk.show(id)).toMatchObject({ plan: 'expedited', wave: { of: 1 } });
    expect((await desk.show(ordinary)).state).toBe('superseded');
    await casino.untilRollout(id, 'active');
    await allUse(next);
    expect(casino.device('annex-1').holds()).toContain(`${next} active`);
    expect(sightings.at('annex-1', `wallet-kek ${waiting} stored`)).toBe(-1);
    expect((await stateOf(active))?.compromisedAt).toBeInstanceOf(Date);
    const alerts = await casino.as('grace', (api) => api.call('alert.list', { query: {} }));
    expect(alerts.items).toContainEqual(expect.objectContaining({ code: 'keyset.compromised', keySet: WALLET }));
  });
});
