/** Maintenance windows: who is changed when, and whom no window holds up. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FLOOR_POLICY, startCasino, WALLET, type Casino } from '#test/support/casino.ts';
import { RolloutDesk, Sightings } from '#test/support/rollout-desk.ts';
import { SteppingClock } from '#test/support/stepping-clock.ts';

const HOUR = 3_600_000;
const clock = new SteppingClock();

/** A window of an hour that opens at this time of the day. */
const opening = (at: Date): string =>
  `{ cron: '${at.getUTCMinutes()} ${at.getUTCHours()} * * *', duration: 1h, timeZone: UTC }`;
const hoursAhead = (hours: number): Date => new Date(clock.now().getTime() + hours * HOUR);

const policyWith = (annex: string | undefined): string => `${FLOOR_POLICY}
rollouts:
  plans:
    any-time: { windows: ignore }
  ${annex === undefined ? 'windows: {}' : `windows: { annex: ${annex} }`}
`;

let casino: Casino;
let desk: RolloutDesk;
const ANNEX = ['annex-1', 'annex-2', 'annex-3'];

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 }, policy: policyWith(undefined), clock });
  desk = new RolloutDesk(casino);
  await casino.addDevices(ANNEX.map((id) => ({ id, class: 'egm', site: 'annex' })));
  await casino.allOn();
});

beforeEach(async () => {
  await desk.applyPolicy(policyWith(undefined));
  await casino.untilConverged();
});

afterAll(() => casino.close());

const holds = (id: string): string[] => casino.device(id).holds();

describe('given a site whose window is shut', () => {
  test('when a key is rotated, then its devices get nothing until the window opens, and those of another site do', async () => {
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    const { waves } = await desk.plan('default');
    expect(waves[0]?.opensAt, 'the plan tells when').not.toBeNull();
    const id = await desk.rotate();
    const { toVersion: next, fromVersion: old } = await casino.keyRollout(id);
    for (const device of ['egm-1', 'egm-2', 'service-1']) await desk.untilTarget(id, device, 'stored');
    await casino.untilConverged();
    for (const device of ANNEX) expect(holds(device), device).not.toContain(`${next} stored`);
    const { state, holds: why, pause } = await desk.show(id);
    expect({ state, pause }).toEqual({ state: 'distributing', pause: null });
    expect(why).toMatchObject([{ reason: 'wave-waiting', targets: 3, devices: ANNEX.map((device) => ({ device })) }]);
    expect(holds('egm-1'), 'nobody uses it meanwhile').toContain(`${old} active`);

    clock.step(6 * HOUR);
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    for (const device of ANNEX) expect(holds(device), device).toContain(`${next} active`);
  });

  test('when the window closes before the activation, then its devices go on with what is accepted, and follow in the next one', async () => {
    const service = casino.device('service-1');
    await service.off();
    const id = await desk.rotate();
    const { toVersion: next, fromVersion: old } = await casino.keyRollout(id);
    await casino.untilRollout(id, 'ready');
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    await service.on();
    await casino.untilRollout(id, 'active');
    await desk.untilTarget(id, 'egm-1', 'active');
    await casino.untilConverged();
    for (const device of ANNEX)
      expect(holds(device), 'what it uses is accepted').toEqual(
        expect.arrayContaining([`${old} active`, `${next} stored`]),
      );
    clock.step(6 * HOUR);
    await casino.until(
      async () => ANNEX.every((device) => holds(device).includes(`${next} active`)),
      () => ANNEX.map((device) => holds(device)),
    );
  });

  test('when the policy opens it, then its devices are served at once', async () => {
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    const id = await desk.rotate();
    const { toVersion: next } = await casino.keyRollout(id);
    await desk.untilTarget(id, 'egm-1', 'stored');
    expect(await desk.states(id)).toMatchObject({ 'annex-1': 'pending' });
    await desk.applyPolicy(policyWith(opening(hoursAhead(-0.5))));
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    expect(holds('annex-1')).toContain(`${next} active`);
  });

  test('when the plan ignores windows, then nobody waits', async () => {
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    const id = await desk.rotate({ plan: 'any-time' });
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    const { toVersion: next } = await casino.keyRollout(id);
    for (const device of ANNEX) expect(holds(device), device).toContain(`${next} active`);
  });

  test('when a device returns whose version is accepted nowhere any more, then it is served outside of the window', async () => {
    await casino.device('annex-1').off();
    await casino.until(
      async () => !(await casino.detail('annex-1')).sync.connected,
      () => 'annex-1 away',
    );
    const id = await desk.rotate();
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    await desk.retire(id);
    await desk.signOff(id, 'lent to another house', 'annex-1');
    await casino.untilRollout(id, 'retired');
    const { toVersion: next } = await casino.keyRollout(id);
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    const sightings = new Sightings(casino);
    await casino.device('annex-1').on();
    await casino.until(
      async () => sightings.at('annex-1', `${WALLET} ${next} active`) >= 0,
      () => holds('annex-1'),
    );
    expect(holds('annex-1')).toContain(`${next} active`);
  });

  test('when a trust bundle is published, then its devices get it when the window opens, and others at once', async () => {
    await desk.applyPolicy(policyWith(opening(hoursAhead(6))));
    const before = casino.device('annex-1').trustVersion;
    const id = await desk.publish();
    await desk.untilTarget(id, 'egm-1', 'active');
    await desk.untilTarget(id, 'service-1', 'active');
    for (const device of ANNEX) expect(casino.device(device).trustVersion, device).toBe(before);
    expect(casino.device('egm-1').trustVersion).toBe(before + 1);
    clock.step(6 * HOUR);
    await casino.untilRollout(id, 'completed');
    for (const device of ANNEX) expect(casino.device(device).trustVersion, device).toBe(before + 1);
  });
});
