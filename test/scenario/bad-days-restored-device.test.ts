/** A device whose storage went back in time, a copy of a device, a device under suspicion: contained, and brought back. */
import { cp } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDiskState } from '#agent/agent.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { DeviceId } from '#schema/ids.ts';
import { reportTopic } from '#schema/topics.ts';
import { agentRun } from '#test/support/agent-run.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { startCasino, WALLET, type Casino } from '#test/support/casino.ts';
import { TappedTransport } from '#test/support/tapped-transport.ts';

let casino: Casino;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 4, service: 1 }, disk: true });
  await casino.allOn();
  await casino.untilConverged();
});

afterAll(() => casino.close());

async function untilQuarantined(id: string, ...codes: readonly ErrorCode[]): Promise<void> {
  await casino.until(
    async () => (await casino.detail(id)).device.state.kind === 'quarantined',
    async () => (await casino.detail(id)).device.state,
  );
  const { state } = (await casino.detail(id)).device;
  expect(codes).toContain(state.kind === 'quarantined' ? state.code : state.kind);
  await casino.until(
    async () => !(await casino.detail(id)).sync.connected,
    () => `${id} off the broker`,
  );
}

/** I9: while the others go on, it gets nothing, and is told no more than that it is refused. */
async function isShutOut(id: string): Promise<void> {
  const device = casino.device(id);
  const held = device.holds();
  const rollout = await casino.rotateUntil('active');
  await casino.untilConverged(
    ...[...casino.devices.values()].filter((one) => one.isOn && one.id !== device.id).map((one) => one.id),
  );
  const { toVersion: version } = await casino.keyRollout(rollout);
  expect(
    (await casino.detail(id)).versions.filter((row) => row.keySet === WALLET && row.version === version),
    'the new version was never offered',
  ).toEqual([]);
  expect(device.holds()).toEqual(held);
  const denied = (): number => device.run.all('error').filter(({ code }) => code === 'broker.denied').length;
  const before = denied();
  await casino.until(
    async () => denied() > before,
    () => `${id} refused by the broker`,
  );
  const failed = device.run.all('error').filter(({ activity }) => activity === 'renew').length;
  const certificates = (await casino.certificatesOf(id)).length;
  await device.run.agent.renew();
  expect(device.run.all('error').filter(({ activity }) => activity === 'renew').length).toBeGreaterThan(failed);
  expect((await casino.certificatesOf(id)).length, 'no certificate either').toBe(certificates);
}

/** One asks, another approves. */
async function reBaseline(id: string): Promise<void> {
  const params = { id: DeviceId.parse(id) };
  const body = { reason: 'the workshop put an old disk in' };
  const asked = await casino.as('grace', (api) => api.call('device.re-baseline', { params, body }));
  if (asked.state !== 'approval-required') throw new Error('a re-baseline needs no second person');
  const { id: approval, sha256 } = asked.approval;
  await casino.as('alan', (api) => api.call('approval.approve', { params: { id: approval }, body: { sha256 } }));
}

/** What is known of the quarantine, for people. */
async function alertOf(id: string): Promise<string> {
  const { items } = await casino.as('grace', (api) => api.call('alert.list', { query: { limit: 100 } }));
  return items.find(({ device }) => device === id)?.message ?? 'no alert';
}

async function isBroughtBack(id: string, bringBack: (id: string) => Promise<void>): Promise<void> {
  const { seq } = (await casino.detail(id)).sync;
  await bringBack(id);
  await casino.untilConverged(id);
  const active = (await casino.store.keySet(WALLET))?.versions.find(({ state }) => state === 'active')?.version;
  expect(casino.device(id).holds()).toContain(`${active} active`);
  expect((await casino.detail(id)).sync.lastSeq, 'what it needs is issued anew').toBeGreaterThan(seq);
}

describe('given a device whose storage was restored from a copy', () => {
  test('when it reports less than it proved before, then it is quarantined and off the broker, gets no key, and two people re-baseline it', async () => {
    const device = casino.device('egm-1');
    await device.off();
    const restore = await device.backup();
    await device.on();
    await casino.rotateUntil('active');
    await casino.untilConverged();
    await device.off();
    await restore();
    await device.on();
    await untilQuarantined('egm-1', 'report.regressed');
    expect(await alertOf('egm-1')).toContain('from 127.0.0.1');
    await isShutOut('egm-1');
    await expectRefusal('device.state-refused', () => casino.release('egm-1'));
    await isBroughtBack('egm-1', reBaseline);
  });
});

describe('given a copy of a device beside the device', () => {
  test('when both report, then their reports fork and the device is quarantined', async () => {
    const device = casino.device('egm-2');
    const copy = `${device.directory}.clone`;
    await cp(device.directory, copy, { recursive: true });
    const clone = agentRun({ state: await openDiskState(copy), timing: { backoffMaxMs: 150 } });
    await clone.agent.start();
    try {
      // A copy that is a report behind by the time it speaks cannot be told from a restored image.
      await untilQuarantined('egm-2', 'report.forked', 'report.regressed');
    } finally {
      await clone.agent.stop();
    }
    expect(await alertOf('egm-2')).toMatch(/addresses .*127\.0\.0\.1/);
    await isShutOut('egm-2');
    await isBroughtBack('egm-2', reBaseline);
  });
});

describe('given a device under suspicion', () => {
  test('when an engineer quarantines it, then it is off the broker at once and gets nothing until two people release it', async () => {
    const device = casino.device('egm-3');
    const before = device.run.all('disconnected').length;
    await casino.quarantine('egm-3');
    await device.run.event('disconnected', before + 1);
    await untilQuarantined('egm-3', 'enrolment.quarantined');
    await isShutOut('egm-3');
    await expectRefusal('device.state-refused', () => reBaseline('egm-3'));
    const { counter } = (await casino.detail('egm-3')).sync;
    await isBroughtBack('egm-3', (id) => casino.release(id));
    expect((await casino.detail('egm-3')).sync.counter, 'its history goes on').toBeGreaterThan(counter);
  });
});

describe('given a report that was seen before', () => {
  test('when it comes again on the device’s own connection, then nothing changes; a new one counts', async () => {
    const device = casino.device('egm-4');
    const tap = new TappedTransport();
    await device.off();
    await device.on({ transport: tap.factory });
    await casino.untilConverged('egm-4');
    await device.run.agent.report();
    const [oldest] = tap.sent;
    if (oldest === undefined) throw new Error('egm-4 has sent nothing');
    const known = (): Promise<number> => casino.detail('egm-4').then(({ sync }) => sync.counter);
    await casino.until(
      async () => (await known()) === device.run.agent.status().reportCounter,
      () => 'the latest report recorded',
    );
    const counter = await known();
    await tap.publish(reportTopic(casino.config.realm, device.id), oldest.payload);
    await device.run.agent.report();
    await casino.until(
      async () => (await known()) > counter && (await known()) === device.run.agent.status().reportCounter,
      async () => (await casino.detail('egm-4')).device.state,
    );
    expect((await casino.detail('egm-4')).device.state).toEqual({ kind: 'enrolled' });
  });
});
