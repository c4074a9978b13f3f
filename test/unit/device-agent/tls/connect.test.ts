import { createServer, type TLSSocket, type Server } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TimeReading } from '#agent/clock/trusted-time.ts';
import { connectTls, judgementTime } from '#agent/tls/connect.ts';
import { encodePemAll } from '#pki/certificate/pem.ts';
import { exportPrivateKeyPem, generateSoftwareKey } from '#pki/keys/software-key.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, DAY, type TestPki } from '#test/support/test-pki.ts';

const servers: Server[] = [];

afterAll(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
});

interface TestServer {
  readonly port: number;
  /** What clients sent in clear after the handshake. */
  readonly received: string[];
}

async function serverOf(
  pki: TestPki,
  kind: 'tls-server' | 'operator' = 'tls-server',
  host = 'localhost',
): Promise<TestServer> {
  const { privateKey, signer } = await generateSoftwareKey('EC-P256');
  const hosts = kind === 'tls-server' ? { hosts: [{ type: 'dns' as const, value: host }] } : {};
  const { certificate } = await pki.issueOperational({ kind, commonName: 'gateway', spki: signer.spki, ...hosts });
  const cert = encodePemAll('CERTIFICATE', [certificate, pki.operationsCa.certificate]);
  const received: string[] = [];
  const server = createServer({ key: exportPrivateKeyPem(privateKey), cert }, (socket) => {
    socket.on('data', (data) => received.push(data.toString()));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return { port: (server.address() as AddressInfo).port, received };
}

const at = (now: Date, trusted: boolean, floor: Date = now): TimeReading => ({
  now,
  trusted,
  floor: trusted ? now : floor,
});

function connecting(pki: TestPki, server: TestServer, time: TimeReading): Promise<TLSSocket> {
  const trust = { anchors: [pki.root.certificate], time };
  return connectTls({ host: 'localhost', port: server.port, trust, timeoutMs: 5_000 });
}

const accepted = async (socket: Promise<TLSSocket>): Promise<boolean> => {
  (await socket).destroy();
  return true;
};

let now: Date;
let pki: TestPki;
let server: TestServer;

beforeAll(async () => {
  pki = await createTestPki();
  now = pki.setting.now;
  server = await serverOf(pki);
});

describe('given a server certificate that is valid by the system clock', () => {
  test('when the time is trusted, then it is accepted within its validity and refused after it', async () => {
    expect(await accepted(connecting(pki, server, at(new Date(now.getTime() + DAY), true)))).toBe(true);
    await expectRefusal('certificate.expired', () =>
      connecting(pki, server, at(new Date(now.getTime() + 91 * DAY), true)),
    );
    await expectRefusal('certificate.not-yet-valid', () =>
      connecting(pki, server, at(new Date(now.getTime() - DAY), true)),
    );
  });

  test('when only a floor is known, then it is accepted if it is younger, and refused if it had expired by then', async () => {
    expect(await accepted(connecting(pki, server, at(new Date(0), false)))).toBe(true);
    const late = new Date(now.getTime() + 91 * DAY);
    await expectRefusal('certificate.expired', () => connecting(pki, server, at(late, false)));
  });

  test('when another name, another root or another purpose is met, then it is refused', async () => {
    const time = at(new Date(now.getTime() + DAY), true);
    const foreign = await createTestPki({ realm: 'other' });
    const named = await serverOf(pki, 'tls-server', 'elsewhere.example');
    const purpose = await serverOf(pki, 'operator');
    await expectRefusal('certificate.untrusted', () => connecting(foreign, server, time));
    await expectRefusal('certificate.untrusted', () => connecting(pki, named, time));
    await expectRefusal('certificate.purpose-refused', () => connecting(pki, purpose, time));
  });
});

describe.each([
  ['in two years', 2],
  ['two years ago', -2],
])('given a dead system clock: certificates that are valid only %s', (_, years) => {
  let then: Date;
  let other: TestPki;
  let remote: TestServer;

  beforeAll(async () => {
    then = new Date(now.getTime() + years * 365 * DAY);
    other = await createTestPki({ now: then });
    remote = await serverOf(other);
  });

  test('when the trusted time says so, then the server is accepted', async () => {
    expect(await accepted(connecting(other, remote, at(new Date(then.getTime() + DAY), true)))).toBe(true);
  });

  test('when the floor is before, then the server is accepted', async () => {
    expect(await accepted(connecting(other, remote, at(new Date(then.getTime() - DAY), false)))).toBe(true);
  });

  test('when the trusted time is another, then the server is refused', async () => {
    const time = at(new Date(then.getTime() + 91 * DAY), true);
    await expectRefusal('certificate.expired', () => connecting(other, remote, time));
  });

  test('when the root is another, then the wrong clock opens no door', async () => {
    const trust = { anchors: [pki.root.certificate], time: at(new Date(then.getTime() + DAY), true) };
    await expectRefusal('certificate.untrusted', () =>
      connectTls({ host: 'localhost', port: remote.port, trust, timeoutMs: 5_000 }),
    );
    expect(remote.received).toEqual([]);
  });
});

test('given no server, then the network is unreachable', async () => {
  const trust = { anchors: [pki.root.certificate], time: at(now, true) };
  await expectRefusal('network.unreachable', () => connectTls({ host: '127.0.0.1', port: 1, trust, timeoutMs: 5_000 }));
});

test('given a server that says nothing, then the handshake times out', async () => {
  const { createServer: createPlain } = await import('node:net');
  const silent = createPlain(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  await expectRefusal('network.timeout', () =>
    connectTls({ host: '127.0.0.1', port, trust: 'unauthenticated', timeoutMs: 50 }),
  );
  silent.close();
});

test('judgement time: exact when trusted, else the later of the floor and what the chain itself begins with', () => {
  const early = new Date('2026-01-01T00:00:00Z');
  const late = new Date('2027-01-01T00:00:00Z');
  expect(judgementTime(at(late, true), early)).toEqual(late);
  expect(judgementTime(at(late, false, early), late)).toEqual(late);
  expect(judgementTime(at(late, false, late), early)).toEqual(late);
});
