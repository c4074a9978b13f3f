/** The listener: TLS, limits, rates, and its end. */
import { connect as connectTcp } from 'node:net';
import { once } from 'node:events';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { encodePem } from '#pki/certificate/pem.ts';
import { generateTlsServerKey } from '#pki/ceremony/operational.ts';
import type { Log } from '#gateway/ports/log.ts';
import { createEstServer } from '#gateway/est/server.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { Realm } from '#schema/ids.ts';
import { silentLog } from '#gateway/ports/log.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  certificateOf,
  enrolledDevice,
  enrolRequest,
  newDevice,
  startEstGateway,
  type EstGateway,
} from '#test/support/est-gateway.ts';

const CACERTS = '/.well-known/est/cacerts';
let gateway: EstGateway;
afterEach(() => gateway.stop());

async function dial(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const ca = encodePem('CERTIFICATE', gateway.pki.root.certificate);
  const socket = connect({ host: '127.0.0.1', port: gateway.port, servername: 'localhost', ca, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** Everything that comes until the other side ends. */
async function rest(socket: TLSSocket): Promise<string> {
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  socket.on('error', () => {});
  await once(socket, 'close');
  return Buffer.concat(parts).toString('latin1');
}

describe('TLS', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'given a session over %s, when offered again, then it is not resumed',
    async (version) => {
      gateway = await startEstGateway();
      const only = { minVersion: version, maxVersion: version };
      const first = await dial(only);
      const sessions: Buffer[] = [];
      first.on('session', (session: Buffer) => sessions.push(session));
      const initial = first.getSession();
      first.write(`GET ${CACERTS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      expect(await rest(first)).toContain('200 OK');
      const session = sessions.at(-1) ?? initial;
      const second = await dial({ ...only, ...(session === undefined ? {} : { session }) });
      expect(second.isSessionReused()).toBe(false);
      second.destroy();
    },
  );

  test('given TLS 1.1, when offered alone, then there is no connection', async () => {
    gateway = await startEstGateway();
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const;
    await expect(dial(old)).rejects.toThrow();
    (await dial({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).destroy();
  });

  test('given clients with and without a certificate, when they connect, then both are let in', async () => {
    gateway = await startEstGateway();
    expect((await gateway.ask({ path: CACERTS })).status).toBe(200);
    const device = await enrolledDevice(gateway, 'egm-1');
    expect((await gateway.ask({ path: CACERTS, identity: device })).status).toBe(200);
  });

  test('given a new server certificate, when it is replaced, then the next handshake shows it; rubbish changes nothing', async () => {
    gateway = await startEstGateway();
    const before = (await dial()).getPeerX509Certificate()?.serialNumber;
    await expectRefusal('config.invalid', () => gateway.server.replaceTls({ ...gateway.tls, key: 'no key' }));
    expect((await dial()).getPeerX509Certificate()?.serialNumber).toBe(before);
    const { privateKeyPem, spki } = await generateTlsServerKey('EC-P256');
    const hosts = [{ type: 'dns', value: 'localhost' }] as const;
    const { certificate } = await gateway.pki.issueOperational({
      kind: 'tls-server',
      commonName: 'gateway',
      spki,
      hosts,
    });
    const cert = [certificate, gateway.pki.operationsCa.certificate]
      .map((der) => encodePem('CERTIFICATE', der))
      .join('');
    gateway.server.replaceTls({ ...gateway.tls, key: privateKeyPem, cert });
    expect((await dial()).getPeerX509Certificate()?.serialNumber).not.toBe(before);
    await enrolledDevice(gateway, 'egm-1');
  });
});

describe('limits', () => {
  test('given a client that sends its headers slowly, when the time is over, then it is cut off', async () => {
    gateway = await startEstGateway({ limits: { headersTimeoutMs: 60, requestTimeoutMs: 60 } });
    const slow = await dial();
    slow.write(`GET ${CACERTS} HTTP/1.1\r\nHost: local`);
    expect(await rest(slow)).toContain('408 Request Timeout');
  });

  test('given a client that sends its body slowly, when the time is over, then it is cut off', async () => {
    gateway = await startEstGateway({ limits: { headersTimeoutMs: 60, requestTimeoutMs: 60 } });
    const slow = await dial();
    slow.write(
      'POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: 1000\r\n\r\nMII',
    );
    expect(await rest(slow)).toContain('408 Request Timeout');
  });

  test('given a connection without TLS, when it says nothing or nonsense, then it is ended', async () => {
    gateway = await startEstGateway({ limits: { headersTimeoutMs: 60 } });
    const silent = connectTcp(gateway.port, '127.0.0.1');
    await once(silent, 'close');
    const loud = connectTcp(gateway.port, '127.0.0.1');
    loud.on('error', () => {});
    loud.write('GET / HTTP/1.1\r\n\r\n');
    await once(loud, 'close');
    expect((await gateway.ask({ path: CACERTS })).status).toBe(200);
  });

  test('given headers of more than 8 KiB, when sent, then 431', async () => {
    gateway = await startEstGateway();
    expect((await gateway.ask({ path: CACERTS, headers: { 'X-Long': 'x'.repeat(9_000) } })).status).toBe(431);
    expect((await gateway.ask({ path: CACERTS, headers: { 'X-Long': 'x'.repeat(1_000) } })).status).toBe(200);
  });

  test('given as many connections as allowed, when one more comes, then it is ended; when one leaves, the next is served', async () => {
    gateway = await startEstGateway({ limits: { maxConnections: 2 } });
    const [first, second] = [await dial(), await dial()];
    await expect(dial()).rejects.toThrow();
    first.end();
    await once(first, 'close');
    second.destroy();
    await once(second, 'close');
    await expect.poll(async () => (await gateway.ask({ path: CACERTS }).catch(() => undefined))?.status).toBe(200);
  });

  test('given one connection, when two requests follow each other, then both are answered on it', async () => {
    gateway = await startEstGateway();
    const socket = await dial();
    const get = `GET ${CACERTS} HTTP/1.1\r\nHost: localhost\r\n`;
    socket.write(`${get}\r\n${get}Connection: close\r\n\r\n`);
    expect((await rest(socket)).match(/200 OK/g)).toHaveLength(2);
  });
});

describe('failures of one address', () => {
  test('given too many, when it goes on, then 503 says when, whatever it shows; after that time it is served', async () => {
    gateway = await startEstGateway({ failuresPerMinute: 3 });
    await gateway.register('egm-1');
    const device = await newDevice('egm-1');
    const code = await gateway.ticket('egm-1');
    for (let count = 0; count < 3; count += 1) {
      expect((await gateway.ask(enrolRequest(device, { code: '00000-00000-00000-00000' }))).status).toBe(401);
    }
    const good = enrolRequest(device, { code });
    const answer = await gateway.ask(good);
    expect([answer.status, answer.headers['croupier-error'], answer.headers['retry-after']]).toEqual([
      503,
      'enrolment.rate-limited',
      '20',
    ]);
    expect(answer.body).toContain('too many requests without a valid credential');
    expect((await gateway.ask({ path: CACERTS })).status).toBe(200);
    gateway.clock.advance(20_000);
    certificateOf(await gateway.ask(good));
  });

  test('given a device that waits for approval, when it asks again and again, then only its first request counts', async () => {
    gateway = await startEstGateway({ failuresPerMinute: 2 });
    const request = enrolRequest(await newDevice('egm-1'));
    for (let count = 0; count < 5; count += 1) expect((await gateway.ask(request)).status).toBe(202);
    expect((await gateway.ask(enrolRequest(await newDevice('egm-2')))).status).toBe(202);
    expect((await gateway.ask(enrolRequest(await newDevice('egm-3')))).status).toBe(503);
  });

  test('given faults of ours, when they repeat, then the address is not to blame', async () => {
    gateway = await startEstGateway({ failuresPerMinute: 2 });
    await gateway.register('egm-1');
    const request = enrolRequest(await newDevice('egm-1'), { code: await gateway.ticket('egm-1') });
    gateway.pki.hsm.disconnect('away');
    for (let count = 0; count < 4; count += 1) {
      expect((await gateway.ask(request)).headers['croupier-error']).toBe('hsm.unavailable');
    }
    gateway.pki.hsm.reconnect();
    certificateOf(await gateway.ask(request));
  });
});

describe('its end', () => {
  test('given a request under way and an idle connection, when it closes, then the one is answered and the other ended', async () => {
    const signing = Promise.withResolvers<undefined>();
    const go = Promise.withResolvers<undefined>();
    gateway = await startEstGateway({
      signer: (real) => ({
        ...real,
        sign: async (data) => {
          signing.resolve(undefined);
          await go.promise;
          return real.sign(data);
        },
      }),
    });
    await gateway.register('egm-1');
    const device = await newDevice('egm-1');
    const idle = await dial();
    const answer = gateway.ask(enrolRequest(device, { code: await gateway.ticket('egm-1') }));
    await signing.promise;
    const closed = gateway.server.close();
    await expect(dial()).rejects.toThrow();
    go.resolve(undefined);
    const { headers } = await answer.then((response) => (certificateOf(response), response));
    expect(headers['connection']).toBe('close');
    await closed;
    if (!idle.destroyed) await once(idle, 'close');
  });

  test('given a port that is taken, when another gateway wants it, then port.in-use names it', async () => {
    gateway = await startEstGateway();
    const { port, policy, tls } = gateway;
    const refusal = await expectRefusal('port.in-use', () =>
      createEstServer({
        host: '127.0.0.1',
        port,
        realm: Realm.parse('test'),
        tls,
        enrol: (input) => gateway.enrol(input),
        cacerts: () => [],
        policy: () => policy,
        failuresPerMinute: 1,
        clock: new ManualClock(new Date()),
        log: silentLog,
      }),
    );
    expect(refusal.message).toContain(String(port));
  });

  test('given everything that devices send, when the log is read, then no code of a ticket is in it', async () => {
    const lines: string[] = [];
    const write = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: write, info: write, warn: write, error: write };
    gateway = await startEstGateway({ log });
    await gateway.register('egm-1');
    const code = await gateway.ticket('egm-1');
    await gateway.ask(enrolRequest(await newDevice('egm-2'), { code }));
    certificateOf(await gateway.ask(enrolRequest(await newDevice('egm-1'), { code })));
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('\n')).not.toContain(code);
  });
});
