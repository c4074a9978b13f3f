/** Nothing from another realm is accepted anywhere (I10): two gateways, two floors, devices of the same names. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mqttTransport } from '#agent/agent.ts';
import type { TlsIdentity } from '#agent/tls/connect.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { reportTopic, statusTopic, trustLinkTopic, updateTopic } from '#schema/topics.ts';
import { agentRun } from '#test/support/agent-run.ts';
import { startCasino, type Casino, type CasinoDevice } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { freshCsr, requestCertificate, requestRenewal } from '#test/support/est-request.ts';
import { TappedTransport } from '#test/support/tapped-transport.ts';

let abroad: Casino;
let casino: Casino;
let stranger: CasinoDevice;
let device: CasinoDevice;
const tapAbroad = new TappedTransport();
const tap = new TappedTransport();

beforeAll(async () => {
  abroad = await startCasino({ floor: { egm: 1 }, realm: 'abroad', child: true });
  stranger = abroad.device('egm-1');
  await stranger.on({ transport: tapAbroad.factory });
  await abroad.untilConverged();
  casino = await startCasino({ floor: { egm: 2 }, realm: 'home' });
  device = casino.device('egm-1');
  await device.on({ transport: tap.factory });
  await casino.untilConverged();
});

afterAll(async () => {
  await casino.close();
  await abroad.close();
});

function identityOf({ run }: CasinoDevice): TlsIdentity {
  const identity = run.agent.view.identity();
  if (identity === undefined) throw new Error('the device has no identity');
  const { certificate, chain, privateKey } = identity;
  return { certificate, chain, privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }) };
}

/** Connects to the gateway at home as egm-1, with an identity of one's choice. */
async function connect(identity: TlsIdentity): Promise<void> {
  const transport = await mqttTransport({
    url: `mqtts://127.0.0.1:${casino.wires.mqtt.port}`,
    clientId: device.id,
    identity,
    trust: {
      anchors: device.run.agent.view.trust()?.anchors['transport'] ?? [],
      time: { now: new Date(), trusted: true, floor: new Date() },
    },
    subscriptions: [updateTopic(casino.config.realm, device.id)],
    will: { topic: statusTopic(casino.config.realm, device.id), payload: '{}' },
    keepaliveSeconds: 60,
    timeoutMs: 5_000,
    onMessage: () => undefined,
    onClose: () => undefined,
  });
  transport.destroy();
}

const audited = (action: string, code: ErrorCode): Promise<boolean> =>
  casino.auditRecords().then((records) => records.some((record) => record.action === action && record.code === code));

describe('given a device, a ticket and messages of another realm', () => {
  test('when its certificate is shown to the broker, then the connection is refused; that of this realm is accepted', async () => {
    await expectRefusal('broker.denied', () => connect(identityOf(stranger)));
    await connect(identityOf(device));
  });

  test('when its certificate is shown for renewal, then there is no new one; that of this realm is renewed', async () => {
    const { est } = casino.device('egm-2').ticket ?? {};
    if (est === undefined) throw new Error('egm-2 has no ticket');
    const renew = async (identity: TlsIdentity) =>
      requestRenewal(est, await freshCsr('egm-1'), {
        cert: encodePem('CERTIFICATE', identity.certificate),
        key: identity.privateKey,
      });
    const before = (await casino.certificatesOf('egm-1')).length;
    expect(await renew(identityOf(stranger))).toMatchObject({ status: 401 });
    expect((await casino.certificatesOf('egm-1')).length).toBe(before);
    expect(await renew(identityOf(device))).toMatchObject({ status: 200 });
  });

  test('when its ticket is used here, then the code is worth nothing, and the device does not believe the gateway either', async () => {
    const foreign = await abroad.newTicket('egm-1');
    const own = casino.device('egm-2').ticket;
    if (own === undefined) throw new Error('egm-2 has no ticket');
    const code = await requestCertificate({ ...foreign, device: own.device, est: own.est }, await freshCsr('egm-2'));
    expect(code.status).toBe(401);

    const here = { ...foreign, est: own.est, mqtt: own.mqtt, public: own.public };
    const run = agentRun({ ticket: here });
    await run.agent.start();
    try {
      expect((await run.event('error')).code).toBe('trust.root-mismatch');
    } finally {
      await run.agent.stop();
    }
    expect((await requestCertificate(own, await freshCsr('egm-2'))).status).toBe(200);
  });

  test('when its updates and trust bundles reach a device here, then they are refused and nothing changes', async () => {
    const held = device.holds();
    const { lastSeq, trustVersion } = device.run.agent.status();
    const [update] = tapAbroad.of('update');
    const bundle = await abroad.store.latestTrustBundle();
    if (update === undefined || bundle === undefined) throw new Error('nothing was sent abroad');
    tap.inject(updateTopic(casino.config.realm, device.id), update.payload);
    expect((await device.run.event('update-refused')).code).toBe('message.signer-untrusted');
    tap.inject(trustLinkTopic(casino.config.realm, device.id), bundle.der);
    expect((await device.run.event('error')).code).toBe('message.wrong-realm');
    expect(device.holds()).toEqual(held);
    expect(device.run.agent.status()).toMatchObject({ lastSeq, trustVersion });
  });

  test('when a report of its device comes over a connection of ours, then it is refused and the device stays in good standing', async () => {
    const report = tapAbroad.sent.at(-1);
    if (report === undefined) throw new Error('no report was sent abroad');
    await tap.publish(reportTopic(casino.config.realm, device.id), report.payload);
    await casino.until(
      () => audited('report.refuse', 'message.signer-untrusted'),
      () => 'the refusal on record',
    );
    await device.run.agent.report();
    await casino.untilConverged('egm-1');
  });

  test('when its database is opened for this realm, then that is refused', async () => {
    const { path } = abroad.config.store;
    await expectRefusal('config.invalid', () =>
      openSqliteStore({ path, realm: casino.config.realm, busyTimeoutMs: 1_000 }),
    );
  });
});
