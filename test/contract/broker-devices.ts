/** Real MQTT devices for the Broker contract, and a real Mosquitto as docs/external-broker.md configures it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { connect as connectTcp, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect as connectMqtt, type IClientOptions, type MqttClient } from 'mqtt';
import { vi } from 'vitest';
import type { DeviceId, Realm } from '#schema/ids.ts';
import { statusTopic, trustLinkTopic, trustTopic, updateTopic } from '#schema/topics.ts';
import type { TestCertificate, TestPki } from '#test/support/test-certificates.ts';
import type { ContractDevice } from './broker.contract.ts';

/** Certificates of devices, each made once. */
export class DeviceCertificates {
  private readonly pki: TestPki;
  private readonly made = new Map<DeviceId, Promise<TestCertificate>>();

  constructor(pki: TestPki) {
    this.pki = pki;
  }

  of(device: DeviceId): Promise<TestCertificate> {
    const known = this.made.get(device) ?? this.pki.deviceCa.issue(device);
    this.made.set(device, known);
    return known;
  }
}

/** Resolves with a connected client; rejects however the attempt ends otherwise. */
export function connectClient(url: string, options: IClientOptions): Promise<MqttClient> {
  return new Promise((resolve, reject) => {
    const client = connectMqtt(url, { reconnectPeriod: 0, connectTimeout: 10_000, ...options });
    client.on('connect', () => resolve(client));
    client.on('error', reject);
    client.on('close', () => reject(new Error('the connection was closed')));
  });
}

export interface DeviceOptions {
  readonly port: number;
  readonly realm: Realm;
  readonly device: DeviceId;
  readonly pki: TestPki;
  readonly certificate: TestCertificate;
}

/** Connects as the agent does: last will, status, subscriptions. */
export async function connectDevice({ port, realm, device, pki, certificate }: DeviceOptions): Promise<ContractDevice> {
  const received: { topic: string; payload: Uint8Array }[] = [];
  const status = statusTopic(realm, device);
  const client = await connectClient(`mqtts://127.0.0.1:${port}`, {
    clientId: device,
    key: certificate.key,
    cert: certificate.cert + pki.deviceCa.cert,
    ca: pki.root.cert,
    will: { topic: status, payload: Buffer.from('offline'), qos: 1, retain: true },
  });
  client.on('error', () => {});
  client.on('message', (topic, payload) => received.push({ topic, payload: Uint8Array.from(payload) }));
  await client.subscribeAsync([updateTopic(realm, device), trustLinkTopic(realm, device), trustTopic(realm)], {
    qos: 1,
  });
  await client.publishAsync(status, 'online', { qos: 1, retain: true });
  return {
    received,
    get open() {
      return client.connected;
    },
    publish: (topic, payload) =>
      new Promise((resolve) => {
        client.once('close', () => resolve());
        client.publish(topic, Buffer.from(payload), { qos: 1 }, () => resolve());
      }),
    leave: async () => {
      if (client.connected) await client.publishAsync(status, 'offline', { qos: 1, retain: true });
      await client.endAsync();
    },
    vanish: async () => {
      const gone = new Promise<void>((resolve) => client.once('close', () => resolve()));
      client.stream.destroy();
      await gone;
    },
  };
}

const MOSQUITTO = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/usr/bin/mosquitto'].find((path) =>
  existsSync(path),
);
export const mosquittoIsInstalled = MOSQUITTO !== undefined;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const answers = (port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connectTcp({ host: '127.0.0.1', port }, () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });

/** The blocks of the guide, with its paths and port replaced. */
async function documentedConfiguration(directory: string, port: number): Promise<{ config: string; acl: string }> {
  const guide = await readFile(fileURLToPath(new URL('../../docs/external-broker.md', import.meta.url)), 'utf8');
  const block = (kind: string): string => new RegExp('```' + kind + '\\n([^`]+)```').exec(guide)?.[1] ?? '';
  const config = block('conf')
    .replaceAll('/etc/mosquitto/croupier', directory)
    .replace('listener 8883', `listener ${port} 127.0.0.1`);
  // Started by root, Mosquitto becomes another user, who may not read the keys of the test.
  const user = process.getuid?.() === 0 ? 'user root\n' : '';
  return { config: config + user, acl: block('acl') };
}

export interface RunningMosquitto {
  readonly port: number;
  stop(): Promise<void>;
  /** On the same port. */
  restart(): Promise<void>;
}

/** Mosquitto under the documented configuration, with the test PKI. */
export async function startMosquitto(pki: TestPki): Promise<RunningMosquitto> {
  const directory = await mkdtemp(join(pki.directory, 'mosquitto-'));
  const port = await freePort();
  const { config, acl } = await documentedConfiguration(directory, port);
  await writeFile(join(directory, 'cas.pem'), pki.root.cert + pki.deviceCa.cert + pki.operationsCa.cert);
  await writeFile(join(directory, 'broker.pem'), pki.gatewayChain);
  await writeFile(join(directory, 'broker.key'), pki.gateway.key);
  await writeFile(join(directory, 'acl'), acl);
  await writeFile(join(directory, 'mosquitto.conf'), config);
  const run = async (): Promise<ChildProcess> => {
    const child = spawn(MOSQUITTO ?? 'mosquitto', ['-c', join(directory, 'mosquitto.conf')], { stdio: 'ignore' });
    await vi.waitFor(() => answers(port), { timeout: 10_000, interval: 20 });
    return child;
  };
  const end = async (child: ChildProcess): Promise<void> => {
    const exited = once(child, 'exit');
    if (child.exitCode === null && child.signalCode === null && child.kill()) await exited;
  };
  let child = await run();
  return {
    port,
    stop: () => end(child),
    restart: async () => {
      await end(child);
      child = await run();
    },
  };
}
