/**
 * Whoever owns the broker can delay, never forge, read or roll back (D§1.4): each message that is not the gateway's, or not
 * for now, is refused by its name and changes nothing; beside each the same message done right, which is taken.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadAuthorities } from '#gateway/trust/authorities.ts';
import { parseSignedData } from '#pki/cms/verify.ts';
import { signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { softwareSigner } from '#pki/keys/software-key.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { DeviceId, KeyVersionNumber, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import { Update } from '#schema/messages/update.ts';
import { trustLinkTopic, updateTopic } from '#schema/topics.ts';
import { REPORT_MAC, startCasino, WALLET, type Casino, type CasinoDevice } from '#test/support/casino.ts';
import { TappedTransport } from '#test/support/tapped-transport.ts';
import { flipped } from '#test/support/test-pki.ts';

let casino: Casino;
let device: CasinoDevice;
const tap = new TappedTransport();
let genuine: Update;

const bodyOf = (der: Uint8Array): unknown =>
  JSON.parse(Buffer.from(parseSignedData(der, { maxBytes: 1_000_000 }).content).toString('utf8'));

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 1, service: 1 } });
  device = casino.device('egm-1');
  await device.on({ transport: tap.factory });
  await casino.device('service-1').on();
  await casino.untilConverged();
  genuine = Update.parse(bodyOf(tap.of('update')[0]?.payload ?? Buffer.alloc(0)));
  expect(genuine.keyrings.map(({ keys }) => keys.length)).toEqual([1, 1]);
});

afterAll(() => casino.close());

const gatewaySigns = (body: object): Promise<Uint8Array> =>
  casino.withKeyStore(async (keyStore) => {
    const { messageSigner } = await loadAuthorities(casino.store, keyStore);
    return signMessage(Buffer.from(JSON.stringify(body)), messageSigner);
  });

function deviceAsSigner(): MessageSigner {
  const identity = device.run.agent.view.identity();
  if (identity === undefined) throw new Error('egm-1 has no identity');
  return { signer: softwareSigner(identity.privateKey), certificate: identity.certificate, chain: identity.chain };
}

let lastSeq = 0;

/** An update that would be taken as it is: nothing in it but a number that is higher than any before. */
function harmless(changes: Partial<Update> = {}): Update {
  lastSeq = Math.max(lastSeq, device.run.agent.status().lastSeq, Date.now()) + 1;
  return { ...genuine, nonce: null, keyrings: [], seq: Seq.parse(lastSeq), ...changes };
}

const inject = (payload: Uint8Array): void => tap.inject(updateTopic(casino.config.realm, device.id), payload);

async function isTaken(payload: Uint8Array): Promise<void> {
  const before = device.run.all('update-applied').length;
  inject(payload);
  await device.run.event('update-applied', before + 1);
}

async function isRefused(code: ErrorCode, payload: Uint8Array): Promise<void> {
  const keyrings = device.run.agent.view.keyrings();
  const { lastSeq: seq, trustVersion } = device.run.agent.status();
  const before = device.run.all('update-refused').length;
  inject(payload);
  const refusal = await device.run.event('update-refused', before + 1);
  expect(refusal.code).toBe(code);
  expect(device.run.agent.view.keyrings(), 'nothing changed').toEqual(keyrings);
  expect(device.run.agent.status()).toMatchObject({ lastSeq: seq, trustVersion });
  await casino.until(
    async () =>
      (await casino.auditRecords()).some(
        ({ action, details }) => action === 'device.refusal' && details?.['code'] === code,
      ),
    () => `the refusal ${code} in the audit chain`,
  );
}

describe('given a device and somebody who owns the broker', () => {
  test('when the gateway itself signs a harmless update, then it is taken', async () => {
    await isTaken(await gatewaySigns(harmless()));
  });

  test('when an update is signed with a device’s certificate, then it is refused', async () => {
    const body = harmless();
    await isRefused('message.signer-untrusted', await signMessage(Buffer.from(JSON.stringify(body)), deviceAsSigner()));
    await isTaken(await gatewaySigns(body));
  });

  test('when an update is altered on its way, then it is refused', async () => {
    const signed = await gatewaySigns(harmless());
    const at = Buffer.from(signed).indexOf('"expiresAt"') + '"expiresAt":"'.length;
    await isRefused('message.signature-invalid', flipped(signed, at));
    await isTaken(signed);
  });

  test('when an older update is played again, then it is refused', async () => {
    const older = await gatewaySigns(harmless());
    await isTaken(older);
    await isTaken(await gatewaySigns(harmless()));
    await isRefused('message.replayed', older);
    await isRefused('message.replayed', tap.of('update')[0]?.payload ?? Buffer.alloc(0));
  });

  test('when another update bears a number that was used, then it is refused', async () => {
    const body = harmless();
    await isTaken(await gatewaySigns(body));
    await isRefused(
      'message.conflict',
      await gatewaySigns({ ...body, expiresAt: new Date(Date.now() + 60_000).toISOString() }),
    );
  });

  test('when an update has expired, then it is refused', async () => {
    const past = (ms: number): string => new Date(Date.now() - ms).toISOString();
    await isRefused(
      'message.expired',
      await gatewaySigns(harmless({ issuedAt: past(7_200_000), expiresAt: past(3_600_000) })),
    );
    await isTaken(
      await gatewaySigns(
        harmless({ issuedAt: past(7_200_000), expiresAt: new Date(Date.now() + 60_000).toISOString() }),
      ),
    );
  });

  test('when an update is for another device or another realm, then it is refused', async () => {
    await isRefused('message.wrong-device', await gatewaySigns(harmless({ device: DeviceId.parse('service-1') })));
    await isRefused('message.wrong-realm', await gatewaySigns(harmless({ realm: Realm.parse('other') })));
    await isTaken(await gatewaySigns(harmless()));
  });

  test('when the envelope of one key set stands in another, then nothing of the update is taken', async () => {
    const mac = genuine.keyrings.find(({ keySet }) => keySet === REPORT_MAC)?.keys[0];
    const wallet = genuine.keyrings.find(({ keySet }) => keySet === WALLET);
    const own = wallet?.keys[0];
    if (mac === undefined || wallet === undefined || own === undefined)
      throw new Error('the first update brought no keys');
    const version = KeyVersionNumber.parse(7);
    const ring = { ...wallet, revision: wallet.revision + 1, accept: [...wallet.accept, version] };
    const moved = { ...own, version, kcv: mac.kcv, envelope: mac.envelope };
    await isRefused('envelope.mismatch', await gatewaySigns(harmless({ keyrings: [{ ...ring, keys: [moved] }] })));
    const renumbered = { ...own, version };
    await isRefused('envelope.mismatch', await gatewaySigns(harmless({ keyrings: [{ ...ring, keys: [renumbered] }] })));
    await isTaken(await gatewaySigns(harmless({ keyrings: [{ ...wallet, keys: [own] }] })));
    expect(device.holds()).toEqual(['1 active']);
  });
});

describe('given trust links from somebody who owns the broker', () => {
  const link = (payload: Uint8Array): void => tap.inject(trustLinkTopic(casino.config.realm, device.id), payload);

  async function latestBody(): Promise<TrustBundle> {
    const latest = await casino.store.latestTrustBundle();
    if (latest === undefined) throw new Error('there is no trust bundle');
    return latest.body;
  }

  async function isLinkRefused(code: ErrorCode, payload: Uint8Array): Promise<void> {
    const { trustVersion } = device;
    const count = (): number =>
      device.run.all('error').filter((event) => event.activity === 'trust' && event.code === code).length;
    const before = count();
    link(payload);
    await casino.until(
      async () => count() > before,
      () => `a link refused with ${code}`,
    );
    expect(device.trustVersion).toBe(trustVersion);
  }

  test('when a link forks, is forged, belongs elsewhere or skips one, then the device stays where it is; the real one is walked', async () => {
    const { version, previous, ...rest } = await latestBody();
    const held = (await casino.store.latestTrustBundle())?.sha256 ?? null;
    const next = { ...rest, version: TrustVersion.parse(version + 1), previous: held };
    const elsewhere = Sha256.parse(createHash('sha256').update('another history').digest('hex'));
    expect(previous).not.toBe(elsewhere);

    await isLinkRefused('trust.link-forked', await gatewaySigns({ ...next, previous: elsewhere }));
    await isLinkRefused('trust.link-forked', await gatewaySigns({ ...next, version, previous }));
    await isLinkRefused('message.wrong-realm', await gatewaySigns({ ...next, realm: 'other' }));
    await isLinkRefused(
      'message.signer-untrusted',
      await signMessage(Buffer.from(JSON.stringify(next)), deviceAsSigner()),
    );

    // Alone with the link: the public listener could close the gap.
    casino.wires.public.target = undefined;
    const before = device.trustVersion;
    link(await gatewaySigns({ ...next, version: version + 2 }));
    await device.run.agent.report();
    expect(device.trustVersion, 'a link that skips one is no step').toBe(before);
    casino.wires.public.target = casino.gateway.run.ports.public;

    await casino.publishTrust();
    await casino.untilConverged();
    expect(device.trustVersion).toBe(before + 1);
  });
});
