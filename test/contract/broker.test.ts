import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createEmbeddedBroker } from '#gateway/broker/embedded.ts';
import { createExternalBroker, type ExternalBroker } from '#gateway/broker/external.ts';
import { createMemoryBroker } from '#gateway/broker/memory.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, Realm, Serial } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { seededRandom, systemRandom } from '#schema/runtime/random.ts';
import { trustLinkTopic, trustTopic, updateTopic } from '#schema/topics.ts';
import { createTestPki, type TestCertificate, type TestPki } from '#test/support/test-certificates.ts';
import {
  connectDevice,
  DeviceCertificates,
  mosquittoIsInstalled,
  startMosquitto,
  type RunningMosquitto,
} from './broker-devices.ts';
import { describeBroker, type ContractDevice } from './broker.contract.ts';

const realm = Realm.parse('prod');
const nothing = (): void => {};
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

let pki: TestPki;
let certificates: DeviceCertificates;
let gatewayClient: TestCertificate;
beforeAll(async () => {
  pki = await createTestPki();
  certificates = new DeviceCertificates(pki);
  gatewayClient = await pki.operationsCa.issue('gateway:prod');
});
afterAll(() => pki.remove());

describeBroker('memory', { ownsConnections: true }, async () => {
  const broker = createMemoryBroker({ realm, clock: systemClock, random: seededRandom('contract') });
  return {
    realm,
    broker,
    stop: () => broker.close(),
    connect: async (id): Promise<ContractDevice> => {
      const device = broker.connect(id);
      const received: { topic: string; payload: Uint8Array }[] = [];
      device.onMessage((topic, payload) => received.push({ topic, payload }));
      for (const topic of [updateTopic(realm, id), trustLinkTopic(realm, id), trustTopic(realm)])
        device.subscribe(topic);
      return {
        received,
        get open() {
          return device.connected;
        },
        publish: async (topic, payload) => {
          try {
            device.publish(topic, payload);
          } catch (error) {
            if (!(error instanceof CroupierError)) throw error;
          }
        },
        leave: async () => device.close(),
        vanish: async () => device.drop(),
      };
    },
  };
});

describeBroker('embedded', { ownsConnections: true }, async () => {
  const broker = await createEmbeddedBroker({
    realm,
    host: '127.0.0.1',
    port: 0,
    tls: { key: pki.gateway.key, cert: pki.gatewayChain, clientCas: [pki.deviceCa.cert] },
    authorize: async ({ clientId }) => ({
      allowed: true,
      device: DeviceId.parse(clientId),
      serial: Serial.parse('01'),
    }),
    clock: systemClock,
    log,
  });
  return {
    realm,
    broker,
    stop: () => broker.close(),
    connect: async (device) =>
      connectDevice({ port: broker.port, realm, device, pki, certificate: await certificates.of(device) }),
  };
});

it('given a device that is just being authorised, when it is disconnected, then it does not get in', async () => {
  const device = DeviceId.parse('egm-0009');
  const asked = Promise.withResolvers<undefined>();
  const contained = Promise.withResolvers<undefined>();
  const broker = await createEmbeddedBroker({
    realm,
    host: '127.0.0.1',
    port: 0,
    tls: { key: pki.gateway.key, cert: pki.gatewayChain, clientCas: [pki.deviceCa.cert] },
    authorize: async () => {
      asked.resolve(undefined);
      await contained.promise;
      return { allowed: true, device, serial: Serial.parse('01') };
    },
    clock: systemClock,
    log,
  });
  const connect = async (): Promise<unknown> =>
    connectDevice({ port: broker.port, realm, device, pki, certificate: await certificates.of(device) });
  const refused = expect(connect()).rejects.toThrow();
  await asked.promise;
  await broker.disconnect(device);
  contained.resolve(undefined);
  await refused;
  expect(broker.isConnected(device)).toBe(false);
  await connect();
  expect(broker.isConnected(device)).toBe(true);
  await broker.close();
});

describe.skipIf(!mosquittoIsInstalled)('external broker: Mosquitto', () => {
  const external = (port: number): ExternalBroker =>
    createExternalBroker({
      realm,
      url: `mqtts://127.0.0.1:${port}`,
      clientId: `croupier-${randomUUID()}`,
      tls: { key: gatewayClient.key, cert: gatewayClient.cert + pki.operationsCa.cert, cas: [pki.root.cert] },
      clock: systemClock,
      random: systemRandom,
      log,
      backoff: { firstMs: 10, maxMs: 100 },
    });

  describeBroker('external (Mosquitto)', { ownsConnections: false }, async () => {
    const mosquitto = await startMosquitto(pki);
    const broker = external(mosquitto.port);
    await broker.whenOnline();
    return {
      realm,
      broker,
      stop: async () => {
        await broker.close();
        await mosquitto.stop();
      },
      connect: async (device) =>
        connectDevice({ port: mosquitto.port, realm, device, pki, certificate: await certificates.of(device) }),
    };
  });

  describe('given a broker that goes away', () => {
    const device = DeviceId.parse('egm-0001');
    let mosquitto: RunningMosquitto;
    let broker: ExternalBroker;
    beforeAll(async () => {
      mosquitto = await startMosquitto(pki);
      broker = external(mosquitto.port);
      await broker.whenOnline();
    });
    afterAll(async () => {
      await broker.close();
      await mosquitto.stop();
    });

    it('then publishing is refused as long as it is away, and devices are served when it is back', async () => {
      await mosquitto.stop();
      await vi.waitFor(() => expect(broker.online).toBe(false), { timeout: 10_000 });
      await expect(broker.publish(updateTopic(realm, device), new Uint8Array([1]))).rejects.toMatchObject({
        code: 'broker.unavailable',
      });
      await mosquitto.restart();
      await broker.whenOnline();
      const certificate = await certificates.of(device);
      const connected = await connectDevice({ port: mosquitto.port, realm, device, pki, certificate });
      await broker.publish(updateTopic(realm, device), new Uint8Array([2]));
      await vi.waitFor(() => expect(connected.received).toHaveLength(1), { timeout: 10_000 });
      await connected.leave();
    });
  });

  // The documented configuration takes the certificate for the client id: two gateways with one certificate would end
  // each other's connections.
  it('given a device that connected before, when a gateway starts, then it learns that the device is there', async () => {
    const device = DeviceId.parse('egm-0001');
    const mosquitto = await startMosquitto(pki);
    const certificate = await certificates.of(device);
    const connected = await connectDevice({ port: mosquitto.port, realm, device, pki, certificate });
    const broker = external(mosquitto.port);
    await vi.waitFor(() => expect(broker.isConnected(device)).toBe(true), { timeout: 10_000 });
    await connected.leave();
    await vi.waitFor(() => expect(broker.isConnected(device)).toBe(false), { timeout: 10_000 });
    await broker.close();
    await mosquitto.stop();
  });
});
