/** Authorities are replaced while a device is away; it comes back to others than it left, and finds its way (D§7, D§9). */
import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadAuthorities } from '#gateway/trust/authorities.ts';
import { parseSignedData } from '#pki/cms/verify.ts';
import { signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { Seq, TrustVersion } from '#schema/ids.ts';
import { Update } from '#schema/messages/update.ts';
import { updateTopic } from '#schema/topics.ts';
import { AuthorityRotation } from '#test/support/authority-rotation.ts';
import { startCasino, type Casino, type CasinoDevice } from '#test/support/casino.ts';
import { TappedTransport } from '#test/support/tapped-transport.ts';

let casino: Casino;
let away: CasinoDevice;
let rotation: AuthorityRotation;

beforeEach(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 } });
  await casino.allOn();
  await casino.untilConverged();
  away = casino.device('egm-2');
  rotation = new AuthorityRotation(casino);
});

afterEach(() => casino.close());

/** Key label of the CA that issued the certificate which the gateway has seen in use. */
async function issuerOf(id: string): Promise<string | undefined> {
  const { device, certificates } = await casino.detail(id);
  return certificates.find(({ serial }) => serial === device.currentSerial)?.issuer;
}

async function untilIssuedBy(id: string, keyLabel: string): Promise<void> {
  await casino.until(
    async () => (await issuerOf(id)) === keyLabel,
    () => casino.detail(id),
  );
}

const signers = (): Promise<readonly MessageSigner[]> =>
  casino.withKeyStore(async (keyStore) => {
    const { messageSigner, standbySigner } = await loadAuthorities(casino.store, keyStore);
    return standbySigner === undefined ? [messageSigner] : [messageSigner, standbySigner];
  });

const latestTrust = async (): Promise<number> => (await casino.store.latestTrustBundle())?.version ?? 0;

/** An update that would be taken as it is, if its signer is trusted. */
async function harmless(tap: TappedTransport, signer: MessageSigner): Promise<Uint8Array> {
  const [genuine] = tap.of('update');
  const content = parseSignedData(genuine?.payload ?? Buffer.alloc(0), { maxBytes: 1_000_000 }).content;
  const seq = Seq.parse(Math.max(away.run.agent.status().lastSeq, Date.now()) + 1);
  const trustVersion = TrustVersion.parse(away.trustVersion);
  const body = Update.parse(JSON.parse(Buffer.from(content).toString('utf8')));
  // Signed where the key is: in the HSM.
  return casino.withKeyStore(async (keyStore) => {
    const record = (await casino.store.authorities()).find(
      ({ certificate }) => certificate !== undefined && Buffer.compare(certificate, signer.certificate) === 0,
    );
    const held = { ...signer, signer: await keyStore.signer(record?.keyLabel ?? '') };
    return signMessage(Buffer.from(JSON.stringify({ ...body, nonce: null, keyrings: [], seq, trustVersion })), held);
  });
}

describe('given a device that is away while the Device CA is replaced', () => {
  test('when it returns before the old one leaves the trust bundle, then it connects with its old certificate and renews under the new one', async () => {
    await away.off();
    expect(await rotation.introduce('device-ca')).toBe('device-ca-2');
    await rotation.switchTo('device-ca');
    await casino.device('egm-1').run.agent.renew();
    await untilIssuedBy('egm-1', 'device-ca-2');

    await away.on();
    await casino.untilConverged('egm-2');
    expect(await issuerOf('egm-2')).toBe('device-ca-1');
    await away.run.agent.renew();
    await untilIssuedBy('egm-2', 'device-ca-2');
    await casino.untilConverged('egm-1', 'egm-2');

    await casino.device('service-1').run.agent.renew();
    await untilIssuedBy('service-1', 'device-ca-2');
    await rotation.withdraw('device-ca-1');
    await casino.untilConverged();
    expect(away.run.all('promoted')).toHaveLength(1);
  });

  test('when it returns after the old one was withdrawn, then MQTT refuses it, EST renews it by grace, and it goes on', async () => {
    await away.off();
    await rotation.introduce('device-ca');
    await rotation.switchTo('device-ca');
    for (const id of ['egm-1', 'service-1']) {
      await casino.device(id).run.agent.renew();
      await untilIssuedBy(id, 'device-ca-2');
    }
    await expect(rotation.withdraw('device-ca-1')).rejects.toMatchObject({ code: 'authority.state-refused' });
    await rotation.withdraw('device-ca-1', { force: true });
    await casino.rotateUntil('active');

    await away.on();
    await untilIssuedBy('egm-2', 'device-ca-2');
    await casino.untilConverged('egm-2');
    expect(away.holds()).toEqual(['1 stored', '2 active']);
    const refused = (await casino.auditRecords()).filter(
      ({ action, outcome }) => action === 'broker.deny' && outcome === 'denied',
    );
    expect(refused, 'the certificate of the withdrawn CA').not.toEqual([]);
    expect(away.run.all('promoted')).toHaveLength(1);
  });
});

describe('given a device that is away while the message signer is replaced', () => {
  test('when it returns after a rotation, then it takes what the new one signs, and nothing of the one before', async () => {
    const tap = new TappedTransport();
    await away.off();
    const [before] = await signers();
    await rotation.prepareStandby();
    await rotation.switchTo('message-signer-standby');
    await rotation.switchTo('message-signer');
    await rotation.prepareStandby();
    await rotation.switchTo('message-signer-standby');
    const [now, standby] = await signers();
    await casino.rotateUntil('active');

    await away.on({ transport: tap.factory });
    await casino.untilConverged('egm-2');
    expect(away.trustVersion).toBe(await latestTrust());
    expect(away.holds()).toEqual(['1 stored', '2 active']);
    expect(away.run.all('update-refused')).toEqual([]);

    if (before === undefined || now === undefined || standby === undefined) throw new Error('a signer is missing');
    const topic = updateTopic(casino.config.realm, away.id);
    tap.inject(topic, await harmless(tap, before));
    await away.run.event('update-refused');
    for (const [index, signer] of [now, standby].entries()) {
      const taken = away.run.all('update-applied').length;
      tap.inject(topic, await harmless(tap, signer));
      await away.run.event('update-applied', taken + 1);
      expect(away.run.all('update-refused'), String(index)).toMatchObject([{ code: 'message.signer-untrusted' }]);
    }
  });

  test('when it returns after the current one was compromised, then it takes what the standby signs and refuses the other', async () => {
    const tap = new TappedTransport();
    await away.off();
    const [compromised, standby] = await signers();
    await rotation.switchTo('message-signer', { compromised: true });
    expect(await signers()).toMatchObject([{ certificate: standby?.certificate }]);
    await casino.rotateUntil('active');

    await away.on({ transport: tap.factory });
    await casino.untilConverged('egm-2');
    expect(away.run.all('update-refused')).toEqual([]);
    if (compromised === undefined || standby === undefined) throw new Error('a signer is missing');
    const topic = updateTopic(casino.config.realm, away.id);
    tap.inject(topic, await harmless(tap, compromised));
    expect(await away.run.event('update-refused')).toMatchObject({ code: 'message.signer-untrusted' });
    const taken = away.run.all('update-applied').length;
    tap.inject(topic, await harmless(tap, standby));
    await away.run.event('update-applied', taken + 1);
    await casino.untilConverged('egm-1', 'egm-2');

    await rotation.prepareStandby();
    await rotation.switchTo('message-signer-standby');
    await casino.untilConverged('egm-1', 'egm-2');
    expect(await signers()).toHaveLength(2);
  });
});

describe('given a device that is away while the root is replaced', () => {
  test('when the TLS chain of the gateway has moved to the new one, then it learns the links over the public listener and connects', async () => {
    await away.off();
    await rotation.introduceRoot();
    await rotation.introduce('operations-ca');
    await rotation.switchTo('operations-ca');
    await rotation.switchTo('root');
    await casino.untilConverged('egm-1', 'service-1');

    await away.on();
    await casino.untilConverged('egm-2');
    expect(away.run.all('error')[0]).toMatchObject({ activity: 'connect', code: 'certificate.untrusted' });
    expect(away.trustVersion).toBe(await latestTrust());
    // Without the public listener it could not have known.
    expect(away.run.events.findIndex(({ kind }) => kind === 'trust-advanced')).toBeLessThan(
      away.run.events.findIndex(({ kind }) => kind === 'connected'),
    );
    // A ticket of today names the new root, and with it a device begins anew.
    await casino.addDevices([{ id: 'egm-3', class: 'egm' }]);
    expect(casino.device('egm-3').ticket?.root).not.toBe(casino.rootFingerprint);
    await casino.device('egm-3').on();
    await casino.untilConverged('egm-3');
  });

  test('when four trust bundles have passed, the root among them, then it walks them all in one connection', async () => {
    const before = away.trustVersion;
    await away.off();
    await rotation.introduceRoot();
    await rotation.introduce('operations-ca');
    await casino.publishTrust();
    await rotation.introduce('device-ca');
    await casino.untilConverged('egm-1', 'service-1');
    expect(await latestTrust()).toBe(before + 4);

    casino.wires.public.target = undefined;
    await away.on();
    await casino.untilConverged('egm-2');
    expect(away.trustVersion).toBe(before + 4);
    expect(away.run.all('connected')).toHaveLength(1);
  });

  test('when nothing but a file reaches it, then it walks them all from there, and is ready for the new chain', async () => {
    const before = away.trustVersion;
    await away.off();
    await rotation.introduceRoot();
    await rotation.introduce('operations-ca');
    await rotation.switchTo('operations-ca');
    await casino.publishTrust();
    await casino.untilConverged('egm-1', 'service-1');
    const links = (await casino.store.trustLinks(TrustVersion.parse(before), 100)).map(({ der }) => der);
    expect(links).toHaveLength(4);

    casino.wires.public.target = undefined;
    await away.on();
    expect(await away.run.event('error')).toMatchObject({ code: 'certificate.untrusted' });
    expect(await away.run.agent.importTrust(links.toReversed())).toBe(before + 4);
    await casino.untilConverged('egm-2');
  });
});
