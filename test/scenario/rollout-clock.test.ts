/** The gateway's clock steps forward and back: nothing is refused wrongly, nothing hangs, numbers go on upwards. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { floorAgrees } from '#test/support/agreement.ts';
import { FLOOR_POLICY, type Casino } from '#test/support/casino.ts';
import { PIT_FIRST, startPitFloor } from '#test/support/pit-floor.ts';
import { RolloutDesk } from '#test/support/rollout-desk.ts';
import { SteppingClock } from '#test/support/stepping-clock.ts';
import { Valve } from '#test/support/valve.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    waves:
      ${PIT_FIRST}
    soaking:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } }, soak: 1h }
        - { name: others, rest: true }
`;

const clock = new SteppingClock();
let casino: Casino;
let desk: RolloutDesk;
const valve = new Valve();

beforeAll(async () => {
  casino = await startPitFloor({ floor: { egm: 2, service: 1 }, policy: POLICY, clock }, valve);
  desk = new RolloutDesk(casino);
});

beforeEach(async () => {
  valve.turn('open');
  await casino.untilConverged();
});

afterAll(() => casino.close());

const refusals = (): readonly string[] =>
  [...casino.devices.values()].flatMap(({ id, run }) => run.all('update-refused').map(({ code }) => `${id} ${code}`));

async function numbersRise(): Promise<void> {
  await floorAgrees(casino);
  const numbers = (await casino.auditRecords()).map(({ seq }) => seq);
  expect([...numbers].sort((a, b) => a - b)).toEqual(numbers);
  expect(refusals()).toEqual([]);
  for (const id of casino.devices.keys()) expect((await casino.detail(id)).device.state.kind, id).toBe('enrolled');
}

describe('given a gateway whose clock steps', () => {
  test('when it steps forward and back again within a wave, then the rollout goes on, and sequence numbers go on upwards', async () => {
    const before = (await casino.detail('egm-1')).sync.seq;
    valve.turn('holding');
    const id = await desk.rotate({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-1', 'stored');
    clock.step(2 * HOUR);
    await casino.device('egm-1').off();
    await casino.device('egm-1').on();
    await casino.untilConverged('egm-1', 'pit-a-1');
    expect(await desk.states(id)).toMatchObject({ 'egm-1': 'pending' });
    valve.turn('open');
    await desk.untilTarget(id, 'pit-a-2', 'stored');
    clock.step(-2 * HOUR);
    await casino.untilRollout(id, 'active');
    await numbersRise();
    expect((await casino.detail('egm-1')).sync.seq).toBeGreaterThan(before);

    const next = await desk.rotate({ plan: 'waves' });
    await casino.untilRollout(next, 'active');
    await numbersRise();
  });

  test('when it steps back while an update waits for its repetition, then that does not wait for the time before the step', async () => {
    clock.step(2 * HOUR);
    valve.turn('losing');
    const id = await desk.rotate();
    await desk.untilTarget(id, 'pit-a-2', 'offered');
    await desk.untilTarget(id, 'egm-1', 'stored');
    clock.step(-2 * HOUR);
    valve.turn('open');
    await casino.untilRollout(id, 'active');
    await numbersRise();
  });

  test('when it steps while a wave soaks, then the soak ends when the clock says so, and not before', async () => {
    const id = await desk.rotate({ plan: 'soaking' });
    const { holds } = await desk.until(id, ({ wave }) => wave.settledAt !== null);
    expect(holds).toMatchObject([{ reason: 'soak' }]);
    clock.step(-HOUR / 2);
    await casino.nudge();
    await casino.untilConverged();
    expect((await desk.show(id)).wave.name).toBe('pit-a');
    clock.step(HOUR);
    await casino.nudge();
    await casino.untilConverged();
    expect((await desk.show(id)).wave.name, 'half an hour is left').toBe('pit-a');
    clock.step(HOUR / 2);
    await casino.untilRollout(id, 'active');
    await numbersRise();
  });

  test('when it was a month ahead for a while, then devices that learned that time take what comes after all the same', async () => {
    clock.step(30 * DAY);
    const ahead = await desk.rotate();
    await casino.untilRollout(ahead, 'active');
    await casino.untilConverged();
    clock.step(-30 * DAY);
    const id = await desk.rotate({ plan: 'waves' });
    await casino.untilRollout(id, 'active');
    await numbersRise();
    for (const device of ['egm-1', 'pit-a-1']) {
      await casino.device(device).off();
      await casino.device(device).on(device === 'pit-a-2' ? { transport: valve.factory } : {});
    }
    const next = await desk.rotate();
    await casino.untilRollout(next, 'active');
    await numbersRise();
  });

  test('when a rollout was paused before the clock was set back, then two people can resume it', async () => {
    clock.step(2 * HOUR);
    valve.turn('holding');
    const id = await desk.rotate({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-2', 'offered');
    await desk.pause(id, 'which time is it');
    clock.step(-2 * HOUR);
    valve.turn('open');
    await desk.resume(id);
    await casino.untilRollout(id, 'active');
    await numbersRise();
  });

  test('when it is restarted an hour ahead, then everything goes on', async () => {
    clock.step(HOUR);
    const id = await desk.rotate({ plan: 'waves' });
    await casino.restartGateway();
    await casino.untilRollout(id, 'active');
    await numbersRise();
    clock.step(-HOUR);
  });

  test('when it is restarted at a time before its devices had their certificates, then it refuses them by name, loses nothing, and goes on when the clock is right', async () => {
    clock.step(-3 * DAY);
    const id = await desk.rotate({ plan: 'waves' });
    await casino.restartGateway();
    const isRefused = (): boolean =>
      casino.log.some(({ fields }) => 'code' in fields && fields.code === 'certificate.not-yet-valid');
    await casino.until(
      async () => isRefused(),
      () => casino.log.slice(-5),
    );
    expect(['approved', 'distributing'], 'that nobody is there moves nothing').toContain((await desk.show(id)).state);
    clock.step(3 * DAY);
    await casino.untilRollout(id, 'active');
    await numbersRise();
  });
});
