/** A rollout in waves, seen on the devices themselves: who holds what, and in which order (D§9). */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FLOOR_POLICY, startCasino, type Casino } from '#test/support/casino.ts';
import { RolloutDesk, Sightings } from '#test/support/rollout-desk.ts';
import { Valve } from '#test/support/valve.ts';

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    careful:
      canary: { count: 1, soak: 1s }
      waves:
        - { name: some, percent: 40, soak: 1s }
        - { name: others, rest: true }
`;

let casino: Casino;
let desk: RolloutDesk;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 7, kiosk: 2, service: 1 }, policy: POLICY });
  desk = new RolloutDesk(casino);
  await casino.allOn();
  await casino.untilConverged();
});

afterAll(() => casino.close());

const first = (members: readonly string[] | undefined, ...without: readonly string[]): string => {
  const found = members?.find((id) => !without.includes(id));
  if (found === undefined) throw new Error('the wave has no such member');
  return found;
};

describe('given a plan with a canary, forty percent and the rest', () => {
  test('when a key is rotated by it, then each wave stores it after the one before, services first, and nobody uses it before all have stored it', async () => {
    const plan = await desk.plan('careful');
    const waves = plan.waves.map(({ members }) => members.map(({ device }) => device));
    expect(plan).toMatchObject({ errors: [], targets: 10 });
    expect(waves.map((wave) => wave.length)).toEqual([2, 4, 4]);
    expect(first(waves[0]), 'services lead the first wave').toBe('service-1');
    const sightings = new Sightings(casino);
    const id = await desk.rotate({ plan: 'careful', planSha256: plan.planSha256 });
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();

    const stored = waves.map((wave) => wave.map((device) => sightings.at(device, 'wallet-kek 2 stored')));
    const used = waves.flat().map((device) => sightings.at(device, 'wallet-kek 2 active'));
    expect(Math.min(...stored.flat(), ...used)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...(stored[0] ?? []))).toBeLessThan(Math.min(...(stored[1] ?? [])));
    expect(Math.max(...(stored[1] ?? []))).toBeLessThan(Math.min(...(stored[2] ?? [])));
    expect(Math.max(...stored.flat())).toBeLessThan(Math.min(...used));

    const steps = (await desk.records(id)).map(({ action, details }) =>
      [action.replace('rollout.', ''), details?.['wave']].filter((word) => word !== undefined).join(' '),
    );
    expect(steps).toEqual([
      'prepare',
      'distributing',
      'wave-soaks canary',
      'wave-opened some',
      'wave-soaks some',
      'wave-opened others',
      'ready',
      'active',
    ]);
    const at = async (action: string): Promise<number[]> =>
      (await desk.records(id)).filter((one) => one.action === action).map((one) => new Date(one.time).getTime());
    const soaks = await at('rollout.wave-soaks');
    const opened = await at('rollout.wave-opened');
    for (const [wave, soak] of soaks.entries())
      expect(opened[wave], 'the soak was kept').toBeGreaterThanOrEqual(soak + 1_000);
    for (const device of waves.flat())
      expect(await desk.history(id, device), device).toEqual(['pending', 'offered', 'stored', 'active']);
  });

  test('when devices return, and one enrols, while the second wave is open, then those whose wave was opened are served at once and the others with theirs', async () => {
    const [canary, some, others] = await desk.wavesOf('careful');
    const early = first(canary, 'service-1');
    const slow = first(some);
    const late = first(others);
    const valve = new Valve('holding');
    await casino.device(early).off();
    await casino.device(late).off();
    await casino.device(slow).off();
    await casino.device(slow).on({ transport: valve.factory });
    await casino.until(
      async () => (await casino.detail(slow)).sync.connected && !(await casino.detail(early)).sync.connected,
      () => 'who is on and who is off',
    );
    const sightings = new Sightings(casino);

    const id = await desk.rotate({ plan: 'careful' });
    await desk.untilTarget(id, slow, 'offered');
    const { wave, holds } = await desk.show(id);
    expect(wave.name, 'a canary that is away holds up no wave').toBe('some');
    const waiting = await desk.until(id, (view) => view.holds[0]?.devices.length === 1);
    expect(waiting.holds, JSON.stringify(holds)).toMatchObject([
      { reason: 'wave-waiting', targets: 1, devices: [{ device: slow, state: 'offered', connected: true }] },
    ]);

    await casino.device(early).on();
    await casino.device(late).on();
    await casino.addDevices([{ id: 'egm-new', class: 'egm' }]);
    await casino.device('egm-new').on();
    await desk.untilTarget(id, early, 'stored');
    await casino.untilConverged(early, late, 'egm-new');
    expect(casino.device(early).holds()).toEqual(['1 stored', '2 active', '3 stored']);
    expect(casino.device(late).holds(), 'its wave is to come').toEqual(['1 stored', '2 active']);
    expect(casino.device('egm-new').holds(), 'a device that enrols later belongs to the last wave').toEqual([
      '1 stored',
      '2 active',
    ]);
    expect(await desk.states(id)).toMatchObject({ [late]: 'pending', 'egm-new': 'pending' });

    valve.turn('open');
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    for (const device of [...(others ?? []), 'egm-new'])
      expect(sightings.at(device, 'wallet-kek 3 stored'), device).toBeGreaterThan(
        sightings.at(slow, 'wallet-kek 3 stored'),
      );
    expect(await desk.history(id, 'egm-new')).toEqual(['pending', 'offered', 'stored', 'active']);
    const targets = await casino.store.rolloutTargets(id, { limit: 100 });
    expect(targets.find(({ device }) => device === 'egm-new')).toMatchObject({ wave: 2, state: 'active' });
  });

  test('when a device comes back after the activation, then it stores and uses the version with one update', async () => {
    const away = casino.device('egm-1');
    await away.off();
    const id = await desk.rotate({ plan: 'careful' });
    await casino.untilRollout(id, 'active');
    const { holds } = await desk.until(id, ({ progress }) => progress.offlineBehind === 1 && progress.oldInUse === 1);
    expect(holds).toMatchObject([{ reason: 'old-in-use', devices: [{ device: 'egm-1', connected: false }] }]);
    await away.on();
    await casino.untilConverged('egm-1');
    expect(away.holds()).toEqual(expect.arrayContaining(['4 active']));
    expect(away.run.all('update-applied')).toHaveLength(1);
    expect(await desk.history(id, 'egm-1')).toEqual(['pending', 'offered', 'active']);
  });

  test('when a service is away, then nobody uses the version before the service has stored it', async () => {
    const service = casino.device('service-1');
    await service.off();
    await casino.until(
      async () => !(await casino.detail('service-1')).sync.connected,
      () => 'the service away',
    );
    const sightings = new Sightings(casino);
    const id = await desk.rotate();
    const { holds } = await desk.until(id, ({ state, holds: [hold] }) => state === 'ready' && hold !== undefined);
    expect(holds).toMatchObject([
      { reason: 'services', targets: 1, devices: [{ device: 'service-1', connected: false }] },
    ]);
    for (const device of casino.devices.values())
      if (device.isOn) expect(device.holds(), device.id).toEqual(expect.arrayContaining(['4 active', '5 stored']));
    await service.on();
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    const used = sightings.seen.flatMap((what, index) => (what.endsWith('wallet-kek 5 active') ? [index] : []));
    expect(used).toHaveLength(casino.devices.size);
    expect(sightings.at('service-1', 'wallet-kek 5 stored')).toBeLessThan(Math.min(...used));
  });
});
