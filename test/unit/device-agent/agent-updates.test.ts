import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { memoryState } from '#agent/agent.ts';
import { softwareSigner } from '#pki/keys/software-key.ts';
import { KeySetName, KeyVersionNumber, Seq, TrustVersion } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import type { Update } from '#schema/messages/update.ts';
import { agentRun, type AgentRun } from '#test/support/agent-run.ts';
import { DeviceSideGateway } from '#test/support/device-side-gateway.ts';
import { flipped } from '#test/support/test-pki.ts';
import { waitUntil } from '#test/support/wait-until.ts';

const KEK = KeySetName.parse('wallet-kek');
const version = (number: number): KeyVersionNumber => KeyVersionNumber.parse(number);

let gateway: DeviceSideGateway;
const runs: AgentRun[] = [];
let count = 0;

beforeAll(async () => {
  gateway = await DeviceSideGateway.start();
  await gateway.authority.publishBundle();
});

afterEach(async () => {
  for (const run of runs.splice(0)) await run.agent.stop();
  gateway.isPublicDown = false;
});

afterAll(async () => {
  await gateway.stop();
});

interface Device extends AgentRun {
  readonly id: string;
  readonly latestNonce: () => string;
  send(fields: Partial<Update>, by?: Parameters<typeof gateway.authority.sign>[1]): Promise<Uint8Array>;
  keyring(wish: Parameters<typeof gateway.authority.keyring>[2]): Update['keyrings'][number];
}

async function connectedDevice(options: Parameters<typeof agentRun>[0] = {}): Promise<Device> {
  count += 1;
  const id = `egm-${count}`;
  const run = agentRun({ ticket: gateway.ticket(id), ...options });
  runs.push(run);
  await run.agent.start();
  await run.event('report-sent');
  return {
    ...run,
    id,
    latestNonce: () => gateway.reportsOf(id).at(-1)?.nonce ?? '',
    send: async (fields, by) => {
      const der = await gateway.authority.sign(gateway.authority.updateBody(id, fields), by);
      await gateway.sendUpdate(id, der);
      return der;
    },
    keyring: (wish) => gateway.authority.keyring(id, gateway.certificateOf(id), wish),
  };
}

const reportWith = (device: Device, seq: number): Promise<unknown> =>
  waitUntil(
    () => gateway.reportsOf(device.id).find(({ results }) => results.some((result) => result.seq === seq)),
    () => `a report on update ${seq}`,
  );

describe('given a connected device', () => {
  test('when an update brings a key, then it is stored, active, and proven by a report', async () => {
    const device = await connectedDevice();
    const seq = gateway.authority.nextSeq();
    await device.send({ seq, keyrings: [device.keyring({ keys: [1] })] });
    expect(await reportWith(device, seq)).toMatchObject({
      counter: 2,
      lastSeq: seq,
      keyrings: [{ keySet: KEK, revision: 1, active: 1, versions: [{ version: 1, state: 'active' }] }],
      results: [{ seq, outcome: 'applied' }],
    });
    expect(Buffer.from(device.agent.view.keyBytes(KEK, version(1)) ?? [])).toEqual(gateway.authority.keyOf(KEK, 1));
    expect(await device.event('activated')).toEqual({ kind: 'activated', keySet: KEK, version: 1 });
  });

  test('when an update answers its nonce, then its clock is trusted; another nonce does not do', async () => {
    const device = await connectedDevice();
    await device.send({ nonce: 'A'.repeat(22) });
    await device.event('update-applied');
    expect(device.agent.status().clock.trusted).toBe(false);
    await waitUntil(
      () => gateway.reportsOf(device.id).length === 2,
      () => 'the report on the first update',
    );
    await device.send({ nonce: device.latestNonce() });
    await device.event('clock-trusted');
    await waitUntil(
      () => gateway.reportsOf(device.id).at(-1)?.clock.trusted,
      () => 'a report by trusted time',
    );
  });

  test('when the same update comes again, then the last report is sent again and nothing else happens', async () => {
    const device = await connectedDevice();
    const der = await device.send({ keyrings: [device.keyring({ keys: [1] })] });
    await device.event('report-sent', 2);
    await gateway.sendUpdate(device.id, der);
    await device.event('update-repeated');
    expect(await device.event('report-sent', 3)).toMatchObject({ counter: 2, repeated: true });
    expect(device.all('update-applied')).toHaveLength(1);
  });

  test('when a rotation goes its way, then each state of a version is reported, and its bytes go in the end', async () => {
    const device = await connectedDevice();
    const step = async (wish: Parameters<Device['keyring']>[0]): Promise<string[]> => {
      const seq = gateway.authority.nextSeq();
      await device.send({ seq, keyrings: [device.keyring(wish)] });
      await reportWith(device, seq);
      const ring = gateway.reportsOf(device.id).at(-1)?.keyrings[0];
      return ring?.versions.map((one) => `${one.version} ${one.state}`) ?? [];
    };
    expect(await step({ revision: 1, keys: [1] })).toEqual(['1 active']);
    expect(await step({ revision: 2, accept: [1, 2], active: 1, keys: [2] })).toEqual(['1 active', '2 stored']);
    expect(await step({ revision: 3, accept: [1, 2], active: 2 })).toEqual(['1 stored', '2 active']);
    expect(await step({ revision: 4, accept: [2] })).toEqual(['1 retired', '2 active']);
    expect(device.agent.view.keyBytes(KEK, version(1))).toBeUndefined();
    expect(await step({ revision: 5, accept: [2], destroy: [1] })).toEqual(['2 active', '1 destroyed']);
    expect(await step({ revision: 6, accept: [2] })).toEqual(['2 active']);
  });

  test('when an application is busy, then the key is stored, the switch waits, and happens by itself', async () => {
    let until: Date | undefined;
    const device = await connectedDevice({ busy: { busyUntil: () => until } });
    await device.send({ keyrings: [device.keyring({ keys: [1] })] });
    await device.event('activated');
    until = new Date(Date.now() + 3_600_000);
    const seq = gateway.authority.nextSeq();
    await device.send({ seq, keyrings: [device.keyring({ revision: 2, accept: [1, 2], active: 2, keys: [2] })] });
    expect(await reportWith(device, seq)).toMatchObject({
      keyrings: [{ active: 1, versions: [{ state: 'active' }, { version: 2, state: 'stored' }] }],
      results: [{ seq, outcome: 'deferred', code: 'device.busy', until: until.toISOString() }],
    });
    expect(device.agent.view.keyBytes(KEK, version(2))).toBeDefined();
    until = undefined;
    await device.event('activated', 2);
    await waitUntil(
      () => gateway.reportsOf(device.id).at(-1)?.keyrings[0]?.active === 2,
      () => 'the switch',
    );
    expect(gateway.reportsOf(device.id).at(-1)?.results).toEqual([{ seq, outcome: 'applied' }]);
  });

  test('when an update asks it to renew, then it does so, and keys sealed for the certificate before are refused', async () => {
    const device = await connectedDevice();
    const before = gateway.certificateOf(device.id);
    await device.send({ renew: { by: new Date().toISOString(), reason: 'policy' } });
    const { serial } = await device.event('promoted');
    expect(serial).toBe(device.agent.view.identity()?.serial);
    await device.send({ keyrings: [device.keyring({ keySet: 'new-kek', keys: [1] })] });
    await device.event('activated');
    await device.send({ keyrings: [gateway.authority.keyring(device.id, before, { keySet: 'old-kek', keys: [1] })] });
    expect(await device.event('update-refused')).toMatchObject({ code: 'envelope.wrong-recipient' });
  });
});

describe('given an update that must be refused, then nothing changes and a report says why', () => {
  const cases: [string, string, (device: Device) => Promise<Uint8Array>][] = [
    ['altered', 'message.signature-invalid', async (device) => flippedEnd(await signed(device, {}))],
    ['no CMS', 'message.malformed', async () => Buffer.from('hello')],
    ['for another device', 'message.wrong-device', (device) => signed({ ...device, id: 'egm-other' }, {})],
    ['of an unknown version', 'message.version-unsupported', (device) => signed(device, { v: 2 })],
    ['of another realm', 'message.wrong-realm', (device) => signed(device, { realm: 'other' })],
    ['older than one processed', 'message.replayed', (device) => signed(device, { seq: 1 })],
    [
      'another one with a number processed',
      'message.conflict',
      (device) => signed(device, { seq: device.agent.status().lastSeq }),
    ],
    [
      'expired',
      'message.expired',
      (device) => signed(device, { expiresAt: new Date(Date.now() - 1000).toISOString() }),
    ],
    ...(['issuedAt', 'time'] as const).map((field): (typeof cases)[number] => [
      `by a gateway whose clock is beyond the certificate of its signer (${field})`,
      'certificate.expired',
      (device) =>
        signed(device, {
          nonce: device.latestNonce(),
          expiresAt: '2199-01-02T00:00:00.000Z',
          [field]: '2199-01-01T00:00:00.000Z',
        }),
    ]),
    ['waiting for trust that nobody has', 'trust.link-missing', (device) => signed(device, { trustVersion: 9 })],
    [
      'with an older keyring',
      'message.conflict',
      (device) => signed(device, { keyrings: [device.keyring({ revision: 1, accept: [1] })] }),
    ],
    [
      'with a version nobody delivered',
      'keyset.version-not-found',
      (device) => signed(device, { keyrings: [device.keyring({ revision: 7, accept: [7] })] }),
    ],
    [
      'with the active version not accepted',
      'message.malformed',
      (device) => signed(device, { keyrings: [device.keyring({ revision: 7, accept: [1], active: 3 })] }),
    ],
    [
      'with an envelope of another key set',
      'envelope.mismatch',
      (device) => signed(device, { keyrings: [moved(device, 'keySet')] }),
    ],
    [
      'with an envelope of another version',
      'envelope.mismatch',
      (device) => signed(device, { keyrings: [moved(device, 'version')] }),
    ],
    [
      'with an envelope for another device',
      'envelope.wrong-recipient',
      (device) => signed(device, { keyrings: [forAnother(device)] }),
    ],
    [
      'with a wrong check value',
      'key.kcv-mismatch',
      (device) => signed(device, { keyrings: [changed(device, { kcv: '0123456789' })] }),
    ],
    [
      'with an envelope that was altered',
      'envelope.integrity-failed',
      (device) => signed(device, { keyrings: [brokenEnvelope(device)] }),
    ],
  ];

  const signed = (device: Pick<Device, 'id'>, fields: object): Promise<Uint8Array> =>
    gateway.authority.sign({ ...gateway.authority.updateBody(device.id), trustVersion: 1, ...fields });

  const delivery = (device: Device): Update['keyrings'][number] =>
    device.keyring({ revision: 7, accept: [1, 2], active: 1, keys: [2] });

  function changed(device: Device, fields: object): Update['keyrings'][number] {
    const ring = delivery(device);
    return { ...ring, keys: ring.keys.map((key) => ({ ...key, ...fields })) };
  }

  const flippedEnd = (der: Uint8Array): Uint8Array => flipped(der, der.length - 5);

  function moved(device: Device, what: 'keySet' | 'version'): Update['keyrings'][number] {
    const certificate = gateway.certificateOf(device.id);
    const [keySet, number] = what === 'keySet' ? (['jackpot-kek', 2] as const) : (['wallet-kek', 5] as const);
    const { envelope, kcv } = gateway.authority.deliver(device.id, certificate, keySet, number);
    return changed(device, { envelope, kcv });
  }

  function forAnother(device: Device): Update['keyrings'][number] {
    const other = [...gateway.issued.keys()].find((id) => id !== device.id) ?? '';
    const { envelope } = gateway.authority.deliver(device.id, gateway.certificateOf(other), 'wallet-kek', 2);
    return changed(device, { envelope });
  }

  function brokenEnvelope(device: Device): Update['keyrings'][number] {
    const [key] = delivery(device).keys;
    const envelope = Buffer.from(
      flipped(Buffer.from(key?.envelope ?? '', 'base64'), Buffer.from(key?.envelope ?? '', 'base64').length - 1),
    );
    return changed(device, { envelope: envelope.toString('base64') });
  }

  test.each(cases)('%s: %s', async (_, code, make) => {
    const device = await connectedDevice();
    await device.send({ nonce: device.latestNonce(), keyrings: [device.keyring({ revision: 2, keys: [1] })] });
    await device.event('report-sent', 2);
    const before = JSON.stringify([device.agent.view.keyrings(), device.agent.status().lastSeq]);
    await gateway.sendUpdate(device.id, await make(device));
    expect((await device.event('update-refused')).code).toBe(code);
    await waitUntil(
      () =>
        gateway
          .reportsOf(device.id)
          .at(-1)
          ?.results.some((result) => result.code === code),
      () => `a report with ${code}`,
    );
    expect(JSON.stringify([device.agent.view.keyrings(), device.agent.status().lastSeq])).toBe(before);
    // The accepting twin.
    const seq = gateway.authority.nextSeq();
    await device.send({ seq, keyrings: [delivery(device)] });
    expect(await reportWith(device, seq)).toMatchObject({ lastSeq: seq, keyrings: [{ revision: 7 }] });
  });

  test('signed by a device: message.signer-untrusted', async () => {
    const device = await connectedDevice();
    const identity = device.agent.view.identity();
    if (identity === undefined) throw new Error('the device has no identity');
    await device.send({}, { ...identity, signer: softwareSigner(identity.privateKey) });
    expect(await device.event('update-refused')).toMatchObject({ code: 'message.signer-untrusted' });
    await device.send({});
    await device.event('update-applied');
  });

  test('signed by a signer of this realm that the bundle does not list: message.signer-untrusted', async () => {
    const device = await connectedDevice();
    await device.send({}, await gateway.authority.newSigner('not listed'));
    expect(await device.event('update-refused')).toMatchObject({ code: 'message.signer-untrusted' });
    await device.send({}, gateway.authority.standby);
    await device.event('update-applied');
  });

  test('many of them: the first is reported at once, the others together, later', async () => {
    const device = await connectedDevice({ timing: { refusalIntervalMs: 300 } });
    for (let number = 1; number <= 20; number += 1) {
      await gateway.sendUpdate(device.id, await signed({ id: 'egm-other' }, { seq: Seq.parse(number) }));
    }
    await device.event('update-refused', 20);
    expect(gateway.reportsOf(device.id).length).toBeLessThanOrEqual(2);
    await waitUntil(
      () => gateway.reportsOf(device.id).length === 3,
      () => 'the report on the others',
    );
    expect(gateway.reportsOf(device.id).flatMap(({ results }) => results.map(({ seq }) => seq))).toEqual(
      expect.arrayContaining([1, 20]),
    );
  });
});

describe('given a device that missed trust links', () => {
  async function behind(): Promise<{ device: Device; from: number }> {
    gateway.authority.bundles.splice(1);
    const device = await connectedDevice();
    return { device, from: 1 };
  }

  test('when an update needs a later bundle, then it fetches the links, walks them, and applies the update', async () => {
    const { device } = await behind();
    const third = await gateway.authority.newSigner('signer three');
    const { signer, standby } = gateway.authority;
    await gateway.authority.publishBundle({ signers: [standby, third], by: [signer, standby] });
    await gateway.authority.publishBundle({ signers: [third], by: [standby, third] });
    await device.send({ keyrings: [device.keyring({ keys: [1] })] }, third);
    expect(await device.event('update-applied')).toBeDefined();
    expect(device.all('trust-advanced')).toEqual([
      { kind: 'trust-advanced', from: 0, to: 1 },
      { kind: 'trust-advanced', from: 1, to: 3 },
    ]);
  });

  test('when the public listener is down, then links from the broker do as well, in any order', async () => {
    const { device } = await behind();
    gateway.isPublicDown = true;
    const two = await gateway.authority.publishBundle();
    const three = await gateway.authority.publishBundle();
    const seq = gateway.authority.nextSeq();
    await device.send({ seq, keyrings: [device.keyring({ keys: [1] })] });
    expect(await device.event('update-refused')).toEqual({ kind: 'update-refused', seq, code: 'trust.link-missing' });
    await gateway.sendLink(device.id, three.der);
    await gateway.sendLink(device.id, two.der);
    expect(await device.event('update-applied')).toMatchObject({ seq });
    expect(device.agent.view.trust()?.version).toBe(3);
  });

  test('when a bundle on the way has expired, then it is walked over; when the last one has, it is refused', async () => {
    const { device } = await behind();
    await device.send({ nonce: device.latestNonce(), trustVersion: TrustVersion.parse(1) });
    await device.event('clock-trusted');
    const past = { expiresAt: new Date(Date.now() - 1000).toISOString() };
    const two = await gateway.authority.publishBundle(past);
    await gateway.sendLink(device.id, two.der);
    expect(await device.event('error')).toMatchObject({ activity: 'trust', code: 'trust.expired' });
    expect(device.agent.view.trust()?.version).toBe(1);
    const three = await gateway.authority.publishBundle();
    await gateway.sendLink(device.id, three.der);
    await device.event('trust-advanced', 2);
    expect(device.agent.view.trust()?.version).toBe(3);
  });

  test('when links come on a stick, then they are walked without a network', async () => {
    const { device } = await behind();
    const two = await gateway.authority.publishBundle();
    const three = await gateway.authority.publishBundle();
    expect(await device.agent.importTrust([three.der, two.der])).toBe(3);
  });

  test.each([
    ['forked', 'trust.link-forked', { previous: 'b'.repeat(64) }],
    ['by a stranger', 'message.signer-untrusted', 'stranger'],
    ['of another realm', 'message.wrong-realm', { realm: 'other' }],
  ] as const)('when a link is %s, then it is refused with %s, and the right one is taken', async (_, code, wish) => {
    const { device } = await behind();
    gateway.isPublicDown = true;
    const stranger = await gateway.authority.newSigner('stranger');
    const bad = await gateway.authority.makeBundle(
      wish === 'stranger' ? { by: [stranger], signers: [stranger] } : (wish as object),
    );
    await gateway.sendLink(device.id, bad.der);
    expect(await device.event('error')).toMatchObject({ activity: 'trust', code });
    await waitUntil(
      () =>
        gateway
          .reportsOf(device.id)
          .at(-1)
          ?.results.some((result) => result.code === code),
      () => `a report with ${code}`,
    );
    const good = await gateway.authority.publishBundle();
    await gateway.sendLink(device.id, good.der);
    await device.event('trust-advanced', 2);
  });
});

test('given a dead clock, then the device enrols, connects and learns the time', async () => {
  const dead = { ...systemClock, now: () => new Date(0) };
  const device = await connectedDevice({ clock: dead, state: memoryState() });
  expect(gateway.reportsOf(device.id)[0]?.clock).toEqual({
    now: gateway.authority.bundles[0]?.body.issuedAt,
    trusted: false,
  });
  await device.send({ nonce: device.latestNonce(), keyrings: [device.keyring({ keys: [1] })] });
  await device.event('activated');
  const { clock } = device.agent.status();
  expect(clock.trusted).toBe(true);
  expect(Math.abs(clock.now.getTime() - Date.now())).toBeLessThan(30_000);
});
