/** The public listener over plain sockets, with the real store, trust bundles and revocation list. */
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseCrl } from '#pki/crl/parse.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { decodePemAll } from '#pki/certificate/pem.ts';
import { CroupierError } from '#schema/errors.ts';
import { Realm } from '#schema/ids.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import { createRevocationList, type RevocationList } from '#gateway/enrolment/revocation-list.ts';
import { silentLog } from '#gateway/ports/log.ts';
import { createPublicServer, type PublicServer, type PublicServerOptions } from '#gateway/public/server.ts';
import type { HealthCheck } from '#gateway/public/resources.ts';
import { DAY, startEstGateway, type EstGateway } from '#test/support/est-gateway.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { trustBundle } from '#test/support/store-fixtures.ts';

interface Response {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

function fetchFrom(
  port: number,
  path: string,
  method = 'GET',
  headers: Record<string, string> = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    request.on('error', reject);
    request.end();
  });
}

describe('public listener', () => {
  let gateway: EstGateway;
  let revocations: RevocationList;
  let server: PublicServer;
  let checks: Record<string, HealthCheck> = { store: { status: 'pass' } };
  let crl: (() => Promise<Uint8Array>) | undefined;
  const first = trustBundle(1, null);
  const second = trustBundle(2, first.sha256);

  const options = (over: Partial<PublicServerOptions> = {}): PublicServerOptions => ({
    host: '127.0.0.1',
    port: 0,
    realm: Realm.parse('test'),
    health: async () => checks,
    crl: (keyLabel) => (crl ?? (() => revocations.current(keyLabel)))(),
    trust: gateway.store,
    cacerts: () => [gateway.pki.root.certificate, gateway.pki.deviceCa.certificate],
    log: silentLog,
    ...over,
  });

  beforeAll(async () => {
    gateway = await startEstGateway();
    const { store, clock } = gateway;
    revocations = createRevocationList({
      store,
      clock,
      log: silentLog,
      issuers: () => [{ ...gateway.pki.deviceCa, keyLabel: 'device-ca-1' }],
      validityMs: 7 * DAY,
      refreshMs: DAY,
    });
    server = await createPublicServer(options());
  });
  afterAll(async () => {
    await server.close();
    await revocations.stop();
    await gateway.stop();
  });

  const fetch = (path: string, method?: string, headers?: Record<string, string>): Promise<Response> =>
    fetchFrom(server.port, path, method, headers);
  const publish = async (bundle: TrustBundleRecord): Promise<void> => {
    const event = { action: 'trust.publish', outcome: 'success', actor: { type: 'gateway', id: 'test' } } as const;
    await gateway.store.appendTrustBundle(bundle, new Date(), event);
  };

  test('given a list, when it is asked for by the name of its CA, then it is the same; of a CA that has none it is 404', async () => {
    const [unnamed, named] = [await fetch('/crl'), await fetch('/crl/device-ca-1')];
    expect([named.status, named.body]).toEqual([200, unnamed.body]);
    for (const path of ['/crl/device-ca-2', '/crl/', '/crl/a/b', '/crl/..'])
      expect((await fetch(path)).status, path).toBe(404);
  });

  test('given a list, when /crl is asked, then DER comes with validators, and 304 to who has it', async () => {
    const { status, headers, body } = await fetch('/crl');
    expect([status, headers['content-type']]).toEqual([200, 'application/pkix-crl']);
    const { thisUpdate } = parseCrl(body);
    expect(headers['last-modified']).toBe(thisUpdate.toUTCString());
    const etag = String(headers['etag']);
    for (const [name, value, expected] of [
      ['If-None-Match', etag, 304],
      ['If-None-Match', `"x", W/${etag}`, 304],
      ['If-None-Match', '"x"', 200],
      ['If-Modified-Since', thisUpdate.toUTCString(), 304],
      ['If-Modified-Since', new Date(thisUpdate.getTime() - 1000).toUTCString(), 200],
      ['If-Modified-Since', 'yesterday', 200],
    ] as const) {
      expect((await fetch('/crl', 'GET', { [name]: value })).status, `${name}: ${value}`).toBe(expected);
    }
    revocations.changed();
    await expect.poll(async () => (await fetch('/crl', 'GET', { 'If-None-Match': etag })).status).toBe(200);
  });

  test('given no bundle, then one, then two, when /trust is asked, then it names the latest, and links are kept', async () => {
    expect(JSON.parse((await fetch('/trust')).body.toString())).toEqual({ latest: 0 });
    expect((await fetch('/trust/latest')).status).toBe(404);
    await publish(first);
    const link = await fetch('/trust/1');
    expect([link.status, link.headers['content-type']]).toEqual([
      200,
      'application/pkcs7-mime; smime-type=signed-data',
    ]);
    expect(link.headers['cache-control']).toContain('immutable');
    await publish(second);
    expect(JSON.parse((await fetch('/trust')).body.toString())).toEqual({ latest: 2 });
    const bodies = await Promise.all(['/trust/1', '/trust/2', '/trust/latest'].map((path) => fetch(path)));
    expect(bodies.map(({ body }) => body)).toEqual([first.der, second.der, second.der]);
    expect(bodies[2]?.headers['cache-control']).toBe('no-cache');
  });

  test.each(['/trust/3', '/trust/0', '/trust/01', '/trust/-1', '/trust/1e3', '/trust/99999999999', '/trust/first'])(
    'given %s, when asked, then 404 trust.not-found',
    async (path) => {
      const { status, headers, body } = await fetch(path);
      expect([status, headers['content-type']]).toEqual([404, 'application/problem+json']);
      expect(JSON.parse(body.toString())).toMatchObject({
        status: 404,
        code: 'trust.not-found',
        remedy: expect.any(String),
      });
    },
  );

  test('given /cacerts.pem, when asked, then each certificate has its subject and fingerprint above it', async () => {
    const { headers, body } = await fetch('/cacerts.pem');
    expect(headers['content-type']).toBe('application/x-pem-file');
    const text = body.toString();
    const { root, deviceCa } = gateway.pki;
    expect(decodePemAll('CERTIFICATE', text)).toEqual(
      [root, deviceCa].map(({ certificate }) => Buffer.from(certificate)),
    );
    expect(text).toContain(`# SHA-256 ${certificateFingerprint(root.certificate)}\n-----BEGIN CERTIFICATE-----`);
    expect(text).toContain('CN=Croupier Root CA');
  });

  test.each<[HealthCheck['status'][], number, string]>([
    [['pass', 'pass'], 200, 'pass'],
    [['pass', 'warn'], 200, 'warn'],
    [['warn', 'fail'], 503, 'fail'],
  ])('given checks %j, when /health is asked, then %i %s', async (statuses, status, overall) => {
    checks = Object.fromEntries(statuses.map((one, index) => [`check${index}`, { status: one }]));
    const answer = await fetch('/health');
    expect([answer.status, answer.headers['cache-control']]).toEqual([status, 'no-store']);
    expect(JSON.parse(answer.body.toString())).toEqual({ status: overall, realm: 'test', checks });
  });

  test('given HEAD, when sent, then the headers of GET come without a body; other methods are 405', async () => {
    const [head, get, post] = [await fetch('/crl', 'HEAD'), await fetch('/crl'), await fetch('/crl', 'POST')];
    expect([head.status, head.body.length, head.headers['content-length']]).toEqual([200, 0, String(get.body.length)]);
    expect([post.status, post.headers['allow']]).toEqual([405, 'GET, HEAD']);
  });

  test('given an unknown path, when asked, then 404 says what there is', async () => {
    const { status, body } = await fetch('/../etc/passwd');
    expect([status, JSON.parse(body.toString()).code]).toEqual([404, 'input.invalid']);
    expect((await fetch('/trust?x=1')).status).toBe(200);
  });

  test('given the HSM is away or something breaks, when asked, then 503 or 500 tells nothing of the inside', async () => {
    crl = () => Promise.reject(new CroupierError('hsm.unavailable', 'slot 7 of /opt/hsm is dead'));
    const away = await fetch('/crl');
    expect([away.status, away.headers['retry-after']]).toEqual([503, '10']);
    crl = () => Promise.reject(new Error('/opt/secret'));
    const broken = await fetch('/crl');
    expect(broken.status).toBe(500);
    expect(`${away.body.toString()}${broken.body.toString()}`).not.toContain('/opt');
    crl = undefined;
    expect((await fetch('/crl')).status).toBe(200);
  });

  test('given a client that is slow, when the time is over, then it is cut off', async () => {
    const strict = await createPublicServer(options({ limits: { headersTimeoutMs: 60, requestTimeoutMs: 60 } }));
    const slow = connect(strict.port, '127.0.0.1');
    slow.write('GET /heal');
    let answer = '';
    slow.on('data', (part: Buffer) => (answer += part.toString()));
    await once(slow, 'close');
    expect(answer).toContain('408');
    await strict.close();
  });

  test('given a port that is taken, when bound again, then port.in-use', async () => {
    await expectRefusal('port.in-use', () => createPublicServer(options({ port: server.port })));
  });

  test('given an idle connection, when the listener closes, then it ends at once', async () => {
    const second = await createPublicServer(options());
    const idle = connect(second.port, '127.0.0.1');
    await once(idle, 'connect');
    expect((await fetchFrom(second.port, '/health')).status).toBeGreaterThan(0);
    const ended = once(idle, 'close');
    await second.close();
    await ended;
  });
});
