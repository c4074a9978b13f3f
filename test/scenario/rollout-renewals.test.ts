/** The other two changes that rollouts bring: new certificates and new trust bundles, in waves, to real agents. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mqttTransport } from '#agent/agent.ts';
import type { IdentityView } from '#agent/view.ts';
import type { RolloutId, Serial } from '#schema/ids.ts';
import { floorAgrees } from '#test/support/agreement.ts';
import { FLOOR_POLICY, type Casino } from '#test/support/casino.ts';
import { freshCsr, requestRenewal } from '#test/support/est-request.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { PIT_A, PIT_FIRST, startPitFloor } from '#test/support/pit-floor.ts';
import { RolloutDesk, Sightings } from '#test/support/rollout-desk.ts';
import { Valve } from '#test/support/valve.ts';

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    waves:
      ${PIT_FIRST}
      timeout: 2s
      retries: 100
`;

let casino: Casino;
let desk: RolloutDesk;
const valve = new Valve();
const OTHERS = ['egm-1', 'egm-2'];

beforeAll(async () => {
  casino = await startPitFloor({ floor: { egm: 2, service: 1 }, policy: POLICY }, valve);
  desk = new RolloutDesk(casino);
});

beforeEach(async () => {
  valve.turn('open');
  await casino.untilConverged();
});

afterAll(() => casino.close());

function identityOf(id: string): IdentityView {
  const identity = casino.device(id).run.agent.view.identity();
  if (identity === undefined) throw new Error(`${id} has no certificate`);
  return identity;
}

const serials = (): Readonly<Record<string, Serial>> =>
  Object.fromEntries([...casino.devices.keys()].map((id) => [id, identityOf(id).serial]));

async function issuedAt(id: string): Promise<number> {
  const { serial } = identityOf(id);
  return (await casino.certificatesOf(id)).find((one) => one.serial === serial)?.createdAt.getTime() ?? 0;
}

const pem = (identity: IdentityView): { readonly cert: string; readonly key: string } => ({
  cert: [identity.certificate, ...identity.chain]
    .map((der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`)
    .join(''),
  key: identity.privateKey.export({ type: 'pkcs8', format: 'pem' }),
});

/** Nobody gets anything by an identity from before: neither a certificate nor a connection. */
async function isOfNoUse(identity: IdentityView): Promise<void> {
  const { est, mqtt } = { est: casino.wires.est.port, mqtt: casino.wires.mqtt.port };
  const before = (await casino.certificatesOf(identity.device)).length;
  const asked = await requestRenewal(`https://127.0.0.1:${est}`, await freshCsr(identity.device), pem(identity)).catch(
    () => ({ status: 0 }),
  );
  expect(asked.status, 'no certificate by the old one').not.toBe(200);
  expect(await casino.certificatesOf(identity.device)).toHaveLength(before);
  const anchors = casino.device(identity.device).run.agent.view.trust()?.anchors['transport'] ?? [];
  const now = new Date();
  await expectRefusal('broker.denied', () =>
    mqttTransport({
      url: `mqtts://127.0.0.1:${mqtt}`,
      clientId: identity.device,
      identity: { certificate: identity.certificate, chain: identity.chain, privateKey: pem(identity).key },
      trust: { anchors, time: { now, trusted: true, floor: now } },
      subscriptions: [],
      will: { topic: 'none', payload: '' },
      keepaliveSeconds: 30,
      timeoutMs: 5_000,
      onMessage: () => undefined,
      onClose: () => undefined,
    }),
  );
}

const completed = (id: RolloutId): Promise<void> => casino.untilRollout(id, 'completed');

describe('given certificates from before a campaign', () => {
  test('when they are to be renewed in waves, then each device gets a new one in its wave, one that was away on its return, and the old ones are of no use', async () => {
    const before = serials();
    const old = identityOf('egm-1');
    const away = casino.device('egm-2');
    await away.off();
    const id = await desk.campaign({ plan: 'waves' });
    await casino.untilRollout(id, 'active');
    for (const device of [...PIT_A, 'egm-1', 'service-1']) await desk.untilTarget(id, device, 'active');
    expect((await desk.show(id)).holds).toMatchObject([
      { reason: 'behind', targets: 1, devices: [{ device: 'egm-2', connected: false }] },
    ]);
    for (const device of [...PIT_A, 'egm-1', 'service-1'])
      expect(identityOf(device).serial, device).not.toBe(before[device]);
    const pitA = await Promise.all(PIT_A.map(issuedAt));
    expect(Math.max(...pitA), 'the first wave came first').toBeLessThan(await issuedAt('egm-1'));
    expect((await desk.history(id, 'egm-1')).filter((step) => step !== 'offered')).toEqual([
      'pending',
      'stored',
      'active',
    ]);

    await away.on();
    await completed(id);
    expect(identityOf('egm-2').serial).not.toBe(before['egm-2']);
    await isOfNoUse(old);
    await floorAgrees(casino);
    for (const device of casino.devices.keys())
      expect((await casino.certificatesOf(device)).filter(({ state }) => state === 'issued').length).toBeGreaterThan(1);
  });

  test('when their keys have leaked, then the old certificates are revoked as soon as the devices have new ones', async () => {
    const before = serials();
    const old = identityOf('pit-a-1');
    const id = await desk.campaign({ cause: 'compromise', reason: 'a stick was lost', plan: 'waves' });
    await completed(id);
    await floorAgrees(casino);
    for (const [device, serial] of Object.entries(before)) {
      const certificates = await casino.certificatesOf(device);
      expect(certificates.find((one) => one.serial === serial)?.state, device).toBe('revoked');
      expect(certificates.find((one) => one.serial === identityOf(device).serial)?.state, device).toBe('issued');
    }
    await isOfNoUse(old);
    const revocations = (await casino.auditRecords()).filter(
      ({ action, details }) => action === 'certificate.revoke' && details?.['reason'] === 'keyCompromise',
    );
    expect(new Set(revocations.map(({ device }) => device)).size).toBe(casino.devices.size);
  });

  test('when the same campaign is on its way already, then another is refused; when it is over, then not', async () => {
    valve.turn('holding');
    const first = await desk.campaign({ plan: 'waves' });
    await expectRefusal('rollout.under-way', () => desk.campaign({ plan: 'waves' }));
    await desk.abort(first, 'an exercise');
    valve.turn('open');
    const second = await desk.campaign({ plan: 'waves' });
    await completed(second);
    expect((await desk.show(first)).state).toBe('aborted');
  });
});

describe('given a trust bundle that is rolled out in waves', () => {
  test('when the first wave has not passed, then nobody else is sent it, and it can be had over the public listener', async () => {
    const before = casino.device('egm-1').trustVersion;
    const next = before + 1;
    valve.turn('holding');
    const sightings = new Sightings(casino);
    const id = await desk.publish({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-1', 'active');
    await casino.nudge();
    await casino.until(
      async () => (await casino.detail('egm-1')).sync.dueAt === undefined,
      () => casino.detail('egm-1'),
    );
    expect(casino.device('pit-a-1').trustVersion).toBe(next);
    for (const device of OTHERS) expect(casino.device(device).trustVersion, device).toBe(before);
    const link = await fetch(`http://127.0.0.1:${casino.wires.public.port}/trust/${next}`);
    expect(link.status).toBe(200);
    const bundle = await casino.store.latestTrustBundle();
    expect(Buffer.from(await link.arrayBuffer()).equals(Buffer.from(bundle?.der ?? []))).toBe(true);
    await casino.addDevices([{ id: 'egm-new', class: 'egm' }]);
    await casino.device('egm-new').on();
    await casino.until(
      async () => casino.device('egm-new').trustVersion === next,
      () => 'a new device that begins with the latest bundle',
    );

    valve.turn('open');
    await completed(id);
    for (const device of OTHERS) {
      expect(casino.device(device).trustVersion, device).toBe(next);
      expect(sightings.at(device, `trust ${next}`)).toBeGreaterThan(sightings.at('pit-a-2', `trust ${next}`));
    }
    await floorAgrees(casino);
  });

  test('when it is aborted after the first wave, then the next bundle carries both links to those that have neither', async () => {
    const before = casino.device('egm-1').trustVersion;
    valve.turn('holding');
    const id = await desk.publish({ plan: 'waves' });
    await desk.untilTarget(id, 'pit-a-1', 'active');
    await desk.abort(id, 'a wrong anchor');
    expect((await desk.show(id)).state).toBe('aborted');
    expect(await casino.store.releasedTrustVersion(), 'an aborted bundle is released to nobody').toBe(before);

    const walked = casino.device('egm-1').run.all('trust-advanced').length;
    const second = await desk.publish();
    valve.turn('open');
    await completed(second);
    await floorAgrees(casino);
    for (const device of casino.devices.values()) expect(device.trustVersion, device.id).toBe(before + 2);
    const steps = casino.device('egm-1').run.all('trust-advanced').slice(walked);
    expect(steps.at(0)?.from).toBe(before);
    expect(steps.at(-1)?.to).toBe(before + 2);
    expect(casino.device('egm-1').run.all('update-refused')).toEqual([]);
  });

  test('when a newer bundle is published meanwhile, then it supersedes the first, and everybody walks through both', async () => {
    const before = casino.device('egm-1').trustVersion;
    valve.turn('holding');
    const first = await desk.publish({ plan: 'waves' });
    await desk.untilTarget(first, 'pit-a-1', 'active');
    const second = await desk.publish({ plan: 'waves' });
    expect((await desk.show(first)).state).toBe('superseded');
    await desk.untilTarget(second, 'pit-a-1', 'active');
    expect(casino.device('egm-1').trustVersion).toBe(before);
    valve.turn('open');
    await completed(second);
    await floorAgrees(casino);
    for (const device of casino.devices.values()) expect(device.trustVersion, device.id).toBe(before + 2);
  });
});
