/** What stops a rollout, by itself or by a person's word, and how it goes on: visible, named, and never past a fault. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KeyVersionNumber, type KeySetName, type RolloutId } from '#schema/ids.ts';
import { FLOOR_POLICY, REPORT_MAC, startCasino, WALLET, type Casino, type CasinoDevice } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { RolloutDesk } from '#test/support/rollout-desk.ts';
import { stubborn } from '#test/support/stubborn-state.ts';
import { Valve } from '#test/support/valve.ts';

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    trial:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } } }
        - { name: others, rest: true }
      minimumSample: 2
      timeout: 1s
      retries: 0
    patient:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } } }
        - { name: others, rest: true }
    hasty:
      timeout: 1s
      retries: 100
      errors: 0.5
    lenient:
      timeout: 1s
      retries: 0
      errors: 0.5
      success: 0.5
    strict:
      timeout: 1s
      retries: 0
      errors: 0.1
`;

let casino: Casino;
let desk: RolloutDesk;
const valves = new Map<string, Valve>();

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 }, policy: POLICY, timing: { refusalIntervalMs: 200 } });
  desk = new RolloutDesk(casino);
  await casino.addDevices(['pit-a-1', 'pit-a-2', 'pit-a-3'].map((id) => ({ id, class: 'egm', labels: { pit: 'a' } })));
  for (const device of casino.devices.values()) {
    const valve = new Valve();
    valves.set(device.id, valve);
    await device.on({ transport: valve.factory });
  }
});

beforeEach(() => casino.untilConverged());

afterAll(() => casino.close());

const valveOf = (id: string): Valve => {
  const valve = valves.get(id);
  if (valve === undefined) throw new Error(`${id} has no valve`);
  return valve;
};

const turn = (position: Valve['position'], ...ids: readonly string[]): void => {
  for (const id of ids) valveOf(id).turn(position);
};

async function versionsOf(id: RolloutId): Promise<{ readonly old: number; readonly next: number }> {
  const { fromVersion: old, toVersion: next } = await casino.keyRollout(id);
  return { old, next };
}

const others = (): CasinoDevice[] => ['egm-1', 'egm-2'].map((id) => casino.device(id));

async function wentThrough(id: RolloutId): Promise<void> {
  await casino.untilRollout(id, 'active');
  await casino.untilConverged();
  const { next } = await versionsOf(id);
  for (const device of casino.devices.values())
    expect(device.holds(), device.id).toEqual(expect.arrayContaining([`${next} active`]));
}

const pitA = ['pit-a-1', 'pit-a-2', 'pit-a-3'];

async function isStubborn(ids: readonly string[], keySet: KeySetName, version: number): Promise<void> {
  for (const id of ids) {
    await casino.device(id).off();
    await casino.device(id).on({ transport: valveOf(id).factory }, stubborn(keySet, KeyVersionNumber.parse(version)));
  }
  await casino.untilConverged(...ids);
}

async function isMended(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await casino.device(id).off();
    await casino.device(id).on({ transport: valveOf(id).factory });
  }
}

const nextOf = async (keySet: KeySetName): Promise<number> =>
  ((await casino.store.keySet(keySet))?.versions.at(-1)?.version ?? 0) + 1;

describe('given a wave whose devices refuse everything', () => {
  test('when enough have refused, then the rollout pauses and names them, and after mending, retry and the word of two goes on', async () => {
    const next = await nextOf(WALLET);
    await isStubborn(pitA, WALLET, next);
    const id = await desk.rotate({ plan: 'trial' });
    const paused = await desk.untilPaused(id, 'rollout.errors-exceeded');
    expect(paused.pause).toMatchObject({ by: 'the gateway' });
    expect(paused.pause?.reason).toMatch(/^wave pit-a: \d of \d executed targets failed, the plan allows 10 %$/);
    for (const device of pitA) await desk.untilTarget(id, device, 'refused');
    const [hold] = (await desk.show(id)).holds;
    expect(hold).toMatchObject({ reason: 'paused' });
    expect(hold?.devices.map(({ device, state, code }) => [device, state, code])).toEqual(
      pitA.map((device) => [device, 'refused', 'keyset.state-refused']),
    );
    for (const device of others())
      expect(device.holds(), 'the next wave was not begun').not.toContain(`${next} stored`);
    const alerts = await casino.as('grace', (api) => api.call('alert.list', { query: {} }));
    expect(alerts.items).toContainEqual(expect.objectContaining({ code: 'rollout.errors-exceeded', rollout: id }));

    await desk.resume(id);
    await desk.untilPaused(id, 'rollout.errors-exceeded');
    expect(await desk.trail(id), 'nothing was mended, so it pauses again').toEqual([
      'rollout.prepare',
      'rollout.distributing',
      'rollout.pause',
      'rollout.resume',
      'rollout.pause',
    ]);

    await desk.retry(id);
    await isMended(pitA);
    await casino.until(
      async () => (await Promise.all(pitA.map((device) => casino.detail(device)))).every(({ sync }) => sync.connected),
      () => 'the mended devices',
    );
    expect((await desk.show(id)).pause, 'a retry alone resumes nothing').not.toBeNull();
    expect(await desk.states(id)).toMatchObject({ 'pit-a-1': 'pending', 'pit-a-2': 'pending', 'pit-a-3': 'pending' });
    await expectRefusal('operator.forbidden', () =>
      casino.as('alan', (api) => api.call('rollout.resume', { params: { id }, body: {} })),
    );
    await desk.resume(id);
    await wentThrough(id);
    expect(await desk.history(id, 'pit-a-1')).toEqual([
      'pending',
      'offered',
      'refused keyset.state-refused',
      'pending',
      'offered',
      'stored',
      'active',
    ]);
    const [, resumed] = (await desk.records(id)).filter(({ action }) => action === 'rollout.resume');
    expect(resumed).toMatchObject({
      actor: { id: 'grace' },
      approval: { approvers: ['alan'] },
      details: { code: 'rollout.errors-exceeded', to: next },
    });
  });

  test('when one refuses an update about something else, then its place in a wave that is to come is not taken for refused', async () => {
    await isStubborn(['egm-1'], REPORT_MAC, await nextOf(REPORT_MAC));
    turn('holding', 'pit-a-1');
    const wallet = await desk.rotate({ plan: 'patient' });
    await desk.untilTarget(wallet, 'pit-a-1', 'offered');
    const mac = await desk.rotate({ plan: 'hasty' }, REPORT_MAC);
    await desk.untilTarget(mac, 'egm-1', 'refused');
    expect((await desk.states(wallet))['egm-1']).toBe('pending');
    await isMended(['egm-1']);
    await desk.untilTarget(mac, 'egm-1', 'stored', 'active');
    const { next } = await versionsOf(wallet);
    expect(casino.device('egm-1').holds(), 'its wave has not come').not.toContain(`${next} stored`);
    turn('open', 'pit-a-1');
    await wentThrough(wallet);
    await casino.untilRollout(mac, 'active');
    expect(await desk.history(wallet, 'egm-1')).toEqual(['pending', 'offered', 'stored', 'active']);
    expect(await desk.history(mac, 'egm-1')).toEqual([
      'pending',
      'offered',
      'refused keyset.state-refused',
      'stored',
      'active',
    ]);
  });

  test('when what reaches a device was altered on the way, then it stalls, and the reason is what the device said', async () => {
    turn('altering', 'pit-a-1');
    const id = await desk.rotate({ plan: 'trial' });
    const { holds } = await desk.untilPaused(id, 'rollout.errors-exceeded');
    expect(holds[0]?.devices).toMatchObject([
      { device: 'pit-a-1', state: 'stalled', code: 'message.signature-invalid' },
    ]);
    turn('open', 'pit-a-1');
    await desk.untilTarget(id, 'pit-a-1', 'stored');
    await desk.resume(id);
    await wentThrough(id);
  });
});

describe('given a device that is connected and does not answer', () => {
  test('when its time and its repetitions are spent, then it has stalled, and counts as an error', async () => {
    turn('losing', 'pit-a-2');
    const id = await desk.rotate({ plan: 'trial' });
    const { holds } = await desk.untilPaused(id, 'rollout.errors-exceeded');
    expect(holds[0]?.devices).toMatchObject([{ device: 'pit-a-2', state: 'stalled', code: 'network.timeout' }]);
    turn('open', 'pit-a-2');
    await desk.untilTarget(id, 'pit-a-2', 'stored');
    await desk.resume(id);
    await wentThrough(id);
    expect(await desk.history(id, 'pit-a-2')).toEqual([
      'pending',
      'offered',
      'stalled network.timeout',
      'stored',
      'active',
    ]);
  });
});

describe('given devices that go away when they are asked', () => {
  const goneWhenAsked = async (plan: string): Promise<RolloutId> => {
    turn('holding', 'pit-a-1', 'pit-a-2');
    const id = await desk.rotate({ plan });
    for (const device of ['pit-a-1', 'pit-a-2']) {
      await desk.untilTarget(id, device, 'offered');
      await casino.device(device).off();
    }
    return id;
  };
  const areBack = async (): Promise<void> => {
    turn('open', 'pit-a-1', 'pit-a-2');
    for (const device of ['pit-a-1', 'pit-a-2']) await casino.device(device).on({ transport: valveOf(device).factory });
  };

  test('when they do not return in time, then they have failed, and the next wave is not begun; when they have returned and taken it, then it goes on', async () => {
    const id = await goneWhenAsked('trial');
    const { holds } = await desk.untilPaused(id, 'rollout.errors-exceeded');
    const failed = { state: 'stalled', code: 'rollout.device-vanished', connected: false };
    expect(holds[0]?.devices).toMatchObject([
      { device: 'pit-a-1', ...failed },
      { device: 'pit-a-2', ...failed },
    ]);
    const { next } = await versionsOf(id);
    for (const device of others()) expect(device.holds(), device.id).not.toContain(`${next} stored`);
    await areBack();
    for (const device of ['pit-a-1', 'pit-a-2']) await desk.untilTarget(id, device, 'stored');
    await desk.resume(id);
    await wentThrough(id);
    expect(await desk.history(id, 'pit-a-1')).toEqual([
      'pending',
      'offered',
      'stalled rollout.device-vanished',
      'stored',
      'active',
    ]);
  });

  test('when they return in time, then the wave has waited for them and passes', async () => {
    const id = await goneWhenAsked('patient');
    const { holds } = await desk.until(id, (view) => view.holds[0]?.reason === 'wave-vanished');
    expect(holds[0]?.devices.map(({ device }) => device)).toEqual(['pit-a-1', 'pit-a-2']);
    await areBack();
    await wentThrough(id);
    expect(await desk.history(id, 'pit-a-1')).toEqual(['pending', 'offered', 'stored', 'active']);
  });
});

describe('given a device that stores and never activates', () => {
  const untilStored = async (plan: string): Promise<RolloutId> => {
    turn('holding', 'service-1');
    const id = await desk.rotate({ plan });
    await desk.untilTarget(id, 'egm-1', 'stored');
    turn('losing', 'egm-1');
    turn('open', 'service-1');
    return id;
  };

  test('when it is told again and again, then it is not overdue yet, and the rollout goes on', async () => {
    const id = await untilStored('hasty');
    await casino.untilRollout(id, 'active');
    await desk.untilTarget(id, 'egm-2', 'active');
    expect((await desk.states(id))['egm-1'], 'it is asked again and again').toBe('stored');
    turn('open', 'egm-1');
    await wentThrough(id);
  });

  test('when too many are overdue, then the rollout pauses; when it activates after all, then the rollout may go on', async () => {
    const id = await untilStored('strict');
    const { holds, pause } = await desk.untilPaused(id, 'rollout.errors-exceeded');
    expect(pause?.reason).toMatch(/^activation: 1 of 6 executed targets failed/);
    expect(holds.find(({ reason }) => reason === 'activation')?.devices).toMatchObject([
      { device: 'egm-1', state: 'overdue', code: 'rollout.activation-overdue' },
    ]);
    await expectRefusal('rollout.state-refused', () => desk.retire(id));
    turn('open', 'egm-1');
    await desk.untilTarget(id, 'egm-1', 'active');
    await desk.resume(id);
    await desk.retire(id);
    await casino.untilRollout(id, 'retired');
    await desk.untilTarget(id, 'egm-1', 'old-retired');
    expect(await desk.history(id, 'egm-1')).toEqual([
      'pending',
      'offered',
      'stored',
      'overdue rollout.activation-overdue',
      'active',
      'old-retired',
    ]);
  });
});

describe('given a service that lags', () => {
  test('when everybody else has stored the version and its time is spent, then the rollout pauses, names it, and goes on with it', async () => {
    turn('losing', 'service-1');
    const id = await desk.rotate({ plan: 'lenient' });
    const { holds, pause } = await desk.untilPaused(id, 'rollout.service-lags');
    expect(pause?.reason).toMatch(/service/);
    expect(holds[0]?.devices.map(({ device }) => device)).toEqual(['service-1']);
    const { old, next } = await versionsOf(id);
    for (const device of others())
      expect(device.holds(), 'nobody uses what a service does not accept').toEqual(
        expect.arrayContaining([`${old} active`, `${next} stored`]),
      );
    turn('open', 'service-1');
    await desk.untilTarget(id, 'service-1', 'stored');
    await desk.resume(id);
    await wentThrough(id);
  });
});

describe('given a rollout that an engineer pauses', () => {
  test('when it is paused within a wave, then what was begun is finished, nothing new is begun, and two people resume it', async () => {
    turn('holding', 'pit-a-1');
    const id = await desk.rotate({ plan: 'patient' });
    await desk.untilTarget(id, 'pit-a-2', 'stored');
    await desk.pause(id, 'a jackpot is being paid');
    const { old, next } = await versionsOf(id);
    expect((await desk.show(id)).holds[0]).toMatchObject({
      reason: 'paused',
      message: 'grace paused it: a jackpot is being paid',
      devices: [],
    });
    await expectRefusal('rollout.state-refused', () => desk.pause(id, 'once more'));
    turn('open', 'pit-a-1');
    await desk.untilTarget(id, 'pit-a-1', 'stored');
    await casino.device('egm-1').off();
    await casino.device('egm-1').on({ transport: valveOf('egm-1').factory });
    await casino.untilConverged('egm-1', 'pit-a-1', 'pit-a-2');
    for (const device of others()) expect(device.holds(), device.id).not.toContain(`${next} stored`);
    expect(casino.device('pit-a-2').holds(), 'what it has it keeps').toEqual(
      expect.arrayContaining([`${old} active`, `${next} stored`]),
    );
    const { wave } = await desk.show(id);
    expect(wave.name).toBe('pit-a');

    await desk.resume(id);
    await wentThrough(id);
    await expectRefusal('rollout.state-refused', () => desk.resume(id));
  });

  test('when it was paused anew since somebody asked to resume it, then the approval comes too late', async () => {
    turn('holding', 'pit-a-1');
    const id = await desk.rotate({ plan: 'patient' });
    await desk.pause(id, 'first look');
    const asked = await casino.as('grace', (api) => api.call('rollout.resume', { params: { id }, body: {} }));
    if (asked.state !== 'approval-required') throw new Error('one person resumes');
    await desk.resume(id);
    await desk.pause(id, 'second look');
    const { id: approval, sha256 } = asked.approval;
    const approve = (): Promise<unknown> =>
      casino.as('alan', (api) => api.call('approval.approve', { params: { id: approval }, body: { sha256 } }));
    await expectRefusal('rollout.state-refused', approve);
    expect((await desk.show(id)).pause?.reason).toBe('second look');
    turn('open', 'pit-a-1');
    await desk.resume(id);
    await wentThrough(id);
  });
});

describe('given a device that is busy', () => {
  test('when it defers the activation, then the rollout says who, why and until when, and the device follows when it is free', async () => {
    let until: Date | undefined = new Date(Date.now() + 3_600_000);
    const busy = { busyUntil: () => until };
    await casino.device('egm-2').off();
    await casino.device('egm-2').on({ busy, transport: valveOf('egm-2').factory });
    await casino.untilConverged('egm-2');
    const id = await desk.rotate({ plan: 'strict' });
    const view = await desk.until(id, ({ progress }) => progress.deferred === 1 && progress.using === 5);
    expect(view.holds.find(({ reason }) => reason === 'deferred')?.devices).toMatchObject([
      { device: 'egm-2', state: 'stored', code: 'device.busy', deferredUntil: until.toISOString() },
    ]);
    expect(view.pause, 'being busy is no fault').toBeNull();
    until = undefined;
    await wentThrough(id);
    expect(await desk.history(id, 'egm-2')).toEqual(['pending', 'offered', 'stored', 'stored device.busy', 'active']);
  });
});
