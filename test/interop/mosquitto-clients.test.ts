/**
 * The embedded broker against Mosquitto's own command line clients: as a device, and as a thief. Every refusal stands
 * beside what is accepted when the one thing that is wrong is put right.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createEmbeddedBroker,
  type Denial,
  type EmbeddedBroker,
  type EmbeddedBrokerOptions,
} from '#gateway/broker/embedded.ts';
import type { Presence, ReportArrival } from '#gateway/ports/broker.ts';
import { DeviceId, Realm, Serial } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { createTestPki, type TestCertificate, type TestPki } from '#test/support/test-certificates.ts';

const installed = spawnSync('mosquitto_pub', ['--help']).error === undefined;

const realm = Realm.parse('prod');
const device = DeviceId.parse('egm-0001');
const topics = {
  report: 'croupier/prod/egm-0001/report',
  status: 'croupier/prod/egm-0001/status',
  update: 'croupier/prod/egm-0001/update',
  trust: 'croupier/prod/trust',
};
const nothing = (): void => {};
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

describe.skipIf(!installed)('Mosquitto clients at the embedded broker', () => {
  let pki: TestPki;
  let own: TestCertificate;
  let other: TestCertificate;
  let broker: EmbeddedBroker;
  let reports: ReportArrival[];
  let presence: Presence[];
  let denials: Denial[];

  const start = (change: Partial<EmbeddedBrokerOptions> = {}): Promise<EmbeddedBroker> =>
    createEmbeddedBroker({
      realm,
      host: '127.0.0.1',
      port: 0,
      tls: { key: pki.gateway.key, cert: pki.gatewayChain, clientCas: [pki.deviceCa.cert] },
      authorize: async ({ clientId }) => ({
        allowed: true,
        device: DeviceId.parse(clientId),
        serial: Serial.parse('0a'),
      }),
      clock: systemClock,
      log,
      onDenied: (denial) => denials.push(denial),
      ...change,
    });

  async function use(started: Promise<EmbeddedBroker>): Promise<void> {
    broker = await started;
    broker.onReport((arrival) => reports.push(arrival));
    broker.onPresence((change) => presence.push(change));
  }

  beforeAll(async () => {
    pki = await createTestPki();
    [own, other] = await Promise.all([pki.deviceCa.issue(device), pki.deviceCa.issue('egm-0002')]);
  });
  afterAll(() => pki.remove());
  beforeEach(async () => {
    [reports, presence, denials] = [[], [], []];
    await use(start());
  });
  afterEach(() => broker.close());

  const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 10 });
  const identity = ({ keyFile, certFile }: TestCertificate): string[] => ['--key', keyFile, '--cert', certFile];
  const args = (credentials: readonly string[], clientId: string, rest: readonly string[]): string[] => [
    '-h',
    '127.0.0.1',
    '-p',
    String(broker.port),
    '--cafile',
    pki.root.certFile,
    '-i',
    clientId,
    '-q',
    '1',
    ...credentials,
    ...rest,
  ];

  function run(program: string, all: readonly string[]): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, all);
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, output }));
    });
  }
  const pub = (credentials: readonly string[], clientId: string, ...rest: readonly string[]): Promise<Outcome> =>
    run('mosquitto_pub', args(credentials, clientId, rest));
  const sub = (credentials: readonly string[], clientId: string, ...rest: readonly string[]): Promise<Outcome> =>
    run('mosquitto_sub', args(credentials, clientId, ['-W', '20', ...rest]));
  const report = (credentials: readonly string[], clientId: string = device): Promise<Outcome> =>
    pub(credentials, clientId, '-t', topics.report, '-m', 'report');

  describe('as a device', () => {
    it('receives an update on its topic', async () => {
      const receiving = sub(identity(own), device, '-t', topics.update, '-C', '1');
      await until(() => {
        void broker.publish(topics.update, Buffer.from('update'));
        expect(broker.counters().delivered).toBeGreaterThan(0);
      });
      expect(await receiving).toEqual({ code: 0, output: 'update\n' });
    });

    it('receives the retained trust bundle', async () => {
      await broker.publish(topics.trust, Buffer.from('bundle 7'), { retain: true });
      expect(await sub(identity(own), device, '-t', topics.trust, '-C', '1')).toEqual({
        code: 0,
        output: 'bundle 7\n',
      });
    });

    it('publishes a report, and is seen to come and go', async () => {
      const file = join(pki.directory, 'report.der');
      const payload = randomBytes(100_000);
      await writeFile(file, payload);
      expect((await pub(identity(own), device, '-t', topics.report, '-f', file)).code).toBe(0);
      await until(() => expect(presence).toHaveLength(2));
      expect(reports.map(({ device, payload, address }) => [device, Buffer.from(payload), address])).toEqual([
        [device, payload, '127.0.0.1'],
      ]);
      expect(presence).toEqual([
        { kind: 'connected', device, serial: '0a', address: '127.0.0.1' },
        { kind: 'disconnected', device, reason: 'closed' },
      ]);
      expect(denials).toEqual([]);
    });

    it('may use TLS 1.2, a last will on its status topic and a session that it wants kept', async () => {
      const will = ['--will-topic', topics.status, '--will-payload', 'offline', '--will-retain'];
      const outcome = await pub(
        identity(own),
        device,
        ...will,
        '-c',
        '--tls-version',
        'tlsv1.2',
        '-t',
        topics.report,
        '-m',
        'x',
      );
      expect(outcome).toEqual({ code: 0, output: '' });
      await until(() => expect(reports).toHaveLength(1));
    });

    it('given new TLS material in use, then the next connection is judged by it', async () => {
      const nextCa = await pki.root.authority('Test Device CA 2');
      const next = await nextCa.issue(device);
      expect((await report(identity(next))).code).not.toBe(0);
      broker.replaceTls({ key: pki.gateway.key, cert: pki.gatewayChain, clientCas: [nextCa.cert] });
      expect((await report(identity(next))).code).toBe(0);
      expect((await report(identity(own))).code).not.toBe(0);
    });
  });

  describe('as a thief', () => {
    const refused = async (attempt: Promise<Outcome>, denial: Partial<Denial>): Promise<void> => {
      expect((await attempt).code).not.toBe(0);
      await until(() => expect(denials).toHaveLength(1));
      expect(denials[0]).toMatchObject({ address: '127.0.0.1', ...denial });
      expect(reports).toEqual([]);
      denials.length = 0;
    };
    const accepted = async (attempt: Promise<Outcome>): Promise<void> => {
      expect(await attempt).toEqual({ code: 0, output: '' });
      await until(() => expect(reports.length).toBeGreaterThan(0));
      expect(denials).toEqual([]);
    };

    it('is refused without a certificate', async () => {
      await refused(report([]), { act: 'handshake' });
      await accepted(report(identity(own)));
    });

    it('is refused with a certificate of a foreign CA of the same names', async () => {
      const foreignCa = await pki.foreignRoot.authority('Test Device CA');
      await refused(report(identity(await foreignCa.issue(device))), {
        act: 'handshake',
        code: 'certificate.untrusted',
      });
      await accepted(report(identity(await pki.deviceCa.issue(device))));
    });

    it('is refused with a certificate of the Operations CA, chain and all', async () => {
      const wrong = await pki.operationsCa.issue(device);
      const chained = join(pki.directory, 'operations-chain.pem');
      await writeFile(chained, wrong.cert + pki.operationsCa.cert + pki.root.cert);
      await refused(report(identity({ ...wrong, certFile: chained })), { act: 'handshake' });
      const right = join(pki.directory, 'device-chain.pem');
      await writeFile(right, own.cert + pki.deviceCa.cert);
      await accepted(report(identity({ ...own, certFile: right })));
    });

    it('is refused with an expired certificate', async () => {
      const expired = await pki.deviceCa.issueExpired(device);
      await refused(report(identity(expired)), { act: 'handshake', code: 'certificate.expired' });
      await accepted(report(identity(own)));
    });

    it('is refused with a certificate for servers', async () => {
      const server = await pki.deviceCa.issue(device, { extendedKeyUsage: 'serverAuth' });
      await refused(report(identity(server)), { act: 'handshake' });
      await accepted(report(identity(own)));
    });

    it('is refused under the client id of another device', async () => {
      await refused(report(identity(other), device), { act: 'connect', code: 'broker.denied', clientId: device });
      await accepted(report(identity(own), device));
    });

    it('is refused on the report topic of another device', async () => {
      const attempt = pub(identity(other), 'egm-0002', '-t', topics.report, '-m', 'forged');
      await refused(attempt, { act: 'publish', device: DeviceId.parse('egm-0002'), topic: topics.report });
      await accepted(pub(identity(other), 'egm-0002', '-t', 'croupier/prod/egm-0002/report', '-m', 'own'));
    });

    it('is refused when it publishes an update or a trust bundle', async () => {
      await refused(pub(identity(own), device, '-t', topics.update, '-m', 'x'), { act: 'publish' });
      await refused(pub(identity(own), device, '-t', topics.trust, '-m', 'x', '-r'), { act: 'publish' });
      await accepted(report(identity(own)));
    });

    it('is refused when it retains a report or wants QoS 2', async () => {
      await refused(pub(identity(own), device, '-t', topics.report, '-m', 'x', '-r'), { act: 'publish' });
      await refused(pub(identity(own), device, '-t', topics.report, '-m', 'x', '-q', '2'), { act: 'publish' });
      await accepted(pub(identity(own), device, '-t', topics.report, '-m', 'x', '-q', '0'));
    });

    it('is refused with a last will elsewhere', async () => {
      const will = (topic: string): string[] => [
        '--will-topic',
        topic,
        '--will-payload',
        'x',
        '-t',
        topics.report,
        '-m',
        'x',
      ];
      await refused(pub(identity(own), device, ...will('croupier/prod/egm-0002/status')), { act: 'connect' });
      await accepted(pub(identity(own), device, ...will(topics.status)));
    });

    it.each(['#', 'croupier/prod/+/update', 'croupier/prod/egm-0002/update', '$SYS/#'])(
      'is refused the subscription to %s',
      async (filter) => {
        const attempt = await sub(identity(own), device, '-t', filter, '-C', '1');
        expect(attempt.output).toContain('denied');
        expect(denials).toMatchObject([{ act: 'subscribe', device, topic: filter }]);
        await broker.publish(topics.trust, Buffer.from('b'), { retain: true });
        expect((await sub(identity(own), device, '-t', topics.trust, '-C', '1')).output).toBe('b\n');
      },
    );

    it('is refused what the authorizer refuses', async () => {
      await broker.close();
      let revoked = true;
      await use(
        start({
          authorize: async ({ clientId }) =>
            revoked
              ? { allowed: false, code: 'certificate.revoked' }
              : { allowed: true, device: DeviceId.parse(clientId), serial: Serial.parse('0a') },
        }),
      );
      await refused(report(identity(own)), { act: 'connect', code: 'certificate.revoked' });
      revoked = false;
      await accepted(report(identity(own)));
    });

    it('is refused, not let in, when the authorizer fails', async () => {
      await broker.close();
      await use(start({ authorize: () => Promise.reject(new Error('the store is away')) }));
      await refused(report(identity(own)), { act: 'connect', code: 'broker.unavailable' });
    });

    it('is refused when the authorizer answers with another device', async () => {
      await broker.close();
      await use(
        start({
          authorize: async () => ({ allowed: true, device: DeviceId.parse('egm-0002'), serial: Serial.parse('0b') }),
        }),
      );
      await refused(report(identity(own)), { act: 'connect', code: 'broker.denied' });
      await accepted(pub(identity(other), 'egm-0002', '-t', 'croupier/prod/egm-0002/report', '-m', 'own'));
    });

    it('is told that MQTT 5 is not spoken', async () => {
      const outcome = await pub(identity(own), device, '-V', 'mqttv5', '-t', topics.report, '-m', 'x');
      expect(outcome.code).not.toBe(0);
      expect(reports).toEqual([]);
      await accepted(pub(identity(own), device, '-V', 'mqttv311', '-t', topics.report, '-m', 'x'));
    });

    it('is cut off by an oversized packet', async () => {
      await broker.close();
      await use(start({ limits: { maxPacketBytes: 50_000 } }));
      const file = async (bytes: number): Promise<string> => {
        const path = join(pki.directory, `${bytes}.bin`);
        await writeFile(path, Buffer.alloc(bytes));
        return path;
      };
      const large = pub(identity(own), device, '-t', topics.report, '-f', await file(50_000));
      await refused(large, { act: 'packet', code: 'input.too-large', device });
      await accepted(pub(identity(own), device, '-t', topics.report, '-f', await file(49_000)));
    });

    it('is cut off by a flood', async () => {
      await broker.close();
      await use(start({ limits: { messagesPerSecond: 1, burst: 50 } }));
      const send = (count: number): { ended: Promise<unknown>; kill: () => void } => {
        const child = spawn('mosquitto_pub', args(identity(own), device, ['-t', topics.report, '-l']));
        const ended = new Promise((resolve) => child.on('close', resolve));
        child.stdin.on('error', nothing);
        child.stdin.end('report\n'.repeat(count));
        return { ended, kill: () => child.kill() };
      };
      expect(await send(40).ended).toBe(0);
      await until(() => expect(reports).toHaveLength(40));
      expect(denials).toEqual([]);
      const flood = send(500);
      await until(() => expect(denials[0]).toMatchObject({ act: 'packet', reason: 'too many packets', device }));
      flood.kill();
      await flood.ended;
      expect(presence.at(-1)).toMatchObject({ kind: 'disconnected', reason: 'dropped' });
    });
  });

  describe('given a raw connection', () => {
    const open = (): Promise<TLSSocket> =>
      new Promise((resolve, reject) => {
        const options = { host: '127.0.0.1', port: broker.port, key: own.key, cert: own.cert, ca: pki.root.cert };
        const socket = connectTls(options, () => resolve(socket));
        socket.on('error', reject);
      });
    const CONNECT = Buffer.concat([Buffer.from('101400044d5154540402003c0008', 'hex'), Buffer.from(device)]);

    it('when a header announces more than the limit, then it is cut before the packet is sent', async () => {
      const socket = await open();
      socket.on('error', nothing);
      const closed = new Promise((resolve) => socket.on('close', resolve));
      socket.resume();
      socket.write(CONNECT);
      await until(() => expect(broker.isConnected(device)).toBe(true));
      socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
      await closed;
      expect(denials).toMatchObject([{ act: 'packet', code: 'input.too-large', device }]);
    });

    it('when it speaks something else than MQTT, or no TLS, then it is cut', async () => {
      const socket = await open();
      socket.on('error', nothing);
      const closed = new Promise((resolve) => socket.on('close', resolve));
      socket.write('GET / HTTP/1.1\r\n\r\n');
      await closed;
      expect(denials).toMatchObject([{ act: 'packet' }]);
      const plain = connectTcp(broker.port, '127.0.0.1', () => plain.write(CONNECT));
      plain.on('error', nothing);
      await new Promise((resolve) => plain.on('close', resolve));
      await until(() => expect(denials).toHaveLength(2));
      expect(denials[1]).toMatchObject({ act: 'handshake' });
    });

    describe.each([
      ['lets the device in', true],
      ['refuses it', false],
    ])('when reports follow CONNECT at once, and then the authorizer %s', (_what, allowed) => {
      it(allowed ? 'then they are read, however many pieces they come in' : 'then they are never read', async () => {
        await broker.close();
        let answer = nothing;
        const asked = new Promise<void>((resolve) => (answer = resolve));
        const yes = { allowed: true, device, serial: Serial.parse('0a') } as const;
        const no = { allowed: false, code: 'certificate.revoked' } as const;
        await use(start({ authorize: () => asked.then(() => (allowed ? yes : no)) }));
        const topic = Buffer.from(topics.report);
        const publish = (payload: Buffer): Buffer => {
          const length = topic.length + 2 + payload.length;
          const octets = [0x30, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14, 0, topic.length];
          return Buffer.concat([Buffer.from(octets), topic, payload]);
        };
        const payloads = [randomBytes(5), randomBytes(100_000), randomBytes(5)];
        const socket = await open();
        const closed = new Promise((resolve) => socket.on('close', resolve));
        socket.on('error', nothing);
        socket.resume();
        socket.write(CONNECT);
        for (const payload of payloads) await new Promise((resolve) => socket.write(publish(payload), resolve));
        answer();
        if (allowed) await until(() => expect(reports).toHaveLength(3));
        else await closed;
        expect(reports.map(({ payload }) => Buffer.from(payload))).toEqual(allowed ? payloads : []);
        expect(denials).toMatchObject(allowed ? [] : [{ act: 'connect' }]);
        socket.destroy();
      });
    });

    it('when it says nothing, then it is cut after the time for CONNECT', async () => {
      await broker.close();
      await use(start({ limits: { connectTimeoutMs: 200 } }));
      const socket = await open();
      socket.on('error', nothing);
      socket.resume();
      await new Promise((resolve) => socket.on('close', resolve));
      expect(broker.counters().connected).toBe(0);
    });

    it('when a device acknowledges nothing, then what it gets is bounded', async () => {
      await broker.close();
      await use(start({ limits: { maxUnacknowledged: 3 } }));
      const socket = await open();
      socket.resume();
      const filter = Buffer.from(topics.update);
      const SUBSCRIBE = Buffer.concat([
        Buffer.from([0x82, filter.length + 5, 0, 1, 0, filter.length]),
        filter,
        Buffer.from([1]),
      ]);
      socket.write(Buffer.concat([CONNECT, SUBSCRIBE]));
      await until(() => {
        void broker.publish(topics.update, Buffer.from('x'));
        expect(broker.counters().delivered).toBe(3);
      });
      const before = broker.counters().dropped;
      await broker.publish(topics.update, Buffer.from('x'));
      expect(broker.counters()).toMatchObject({ delivered: 3, dropped: before + 1 });
      socket.destroy();
    });
  });

  it('given a port that is taken, when a broker is to listen there, then it says so; a free one works', async () => {
    await expect(start({ port: broker.port })).rejects.toMatchObject({ code: 'port.in-use' });
    const second = await start();
    expect(second.port).not.toBe(broker.port);
    await second.close();
  });

  it('given a key that does not belong to the certificate, then it is a configuration error, and the old one stays', async () => {
    const wrong = { key: own.key, cert: pki.gatewayChain, clientCas: [pki.deviceCa.cert] };
    await expect(start({ tls: wrong })).rejects.toMatchObject({ code: 'config.invalid' });
    expect(() => broker.replaceTls(wrong)).toThrow(expect.objectContaining({ code: 'config.invalid' }));
    expect((await report(identity(own))).code).toBe(0);
  });
});
