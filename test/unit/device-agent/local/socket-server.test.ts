import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { BusyLeases } from '#agent/local/busy-leases.ts';
import { askAgent } from '#agent/local/socket-client.ts';
import { startSocketServer, type SocketLimits, type SocketServer } from '#agent/local/socket-server.ts';
import { silentLog } from '#agent/log.ts';
import { KeySetName } from '#schema/ids.ts';
import { ManualClock, systemClock, type Clock } from '#schema/runtime/clock.ts';
import { FakeAgentView, makeCredential } from '#test/support/fake-agent-view.ts';

const run = promisify(execFile);
const credential = makeCredential();

let directory: string;
let path: string;
let view: FakeAgentView;
let busy: BusyLeases;
let server: SocketServer | undefined;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-socket-'));
  path = join(directory, 'agent.sock');
  view = new FakeAgentView();
  busy = new BusyLeases(systemClock);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill();
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

async function serve(limits: Partial<SocketLimits> = {}, clock: Clock = systemClock): Promise<void> {
  server = await startSocketServer({
    path,
    view,
    busy,
    clock,
    log: silentLog,
    limits,
    identityKeyFile: '/run/x/current/identity.key',
  });
}

/** As an application would ask: with curl. */
async function curl(target: string, ...args: string[]): Promise<{ status: number; type: string; document: unknown }> {
  const format = '\n%{http_code} %{content_type}';
  const { stdout } = await run('curl', [
    '-sS',
    '--max-time',
    '10',
    '--unix-socket',
    path,
    '-w',
    format,
    ...args,
    `http://agent${target}`,
  ]);
  const lines = stdout.trimEnd().split('\n');
  const [status, type = ''] = (lines.pop() ?? '').split(' ');
  return { status: Number(status), type, document: JSON.parse(lines.join('\n')) };
}

const problem = (status: number, code: string): unknown => ({
  status,
  type: 'application/problem+json',
  document: expect.objectContaining({ status, code, remedy: expect.stringMatching(/./) }),
});

/** Lines of a watch, one at a time. */
async function watch(query = ''): Promise<{ readonly next: () => Promise<unknown>; readonly child: ChildProcess }> {
  const child = spawn('curl', ['-sSN', '--unix-socket', path, `http://agent/watch${query}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    next: async () => {
      const { value, done } = await lines.next();
      return done === true ? undefined : JSON.parse(value);
    },
  };
}

describe('given a running agent', () => {
  test('then the socket is for its user alone and is gone after the end', async () => {
    await serve();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await server?.close();
    expect(existsSync(path)).toBe(false);
    expect(view.listenerCount).toBe(0);
    server = undefined;
  });

  test('when a second agent takes the same socket, then it is refused and the first still answers', async () => {
    await serve();
    await expect(startSocketServer({ path, view, busy, clock: systemClock, log: silentLog })).rejects.toEqual(
      expect.objectContaining({ code: 'agent.running' }),
    );
    expect((await curl('/keys')).status).toBe(200);
  });
});

describe('GET /keys', () => {
  test('then keyrings are listed without key bytes', async () => {
    const bytes = view.store('wallet-kek', 4);
    view.activate('wallet-kek', 4);
    await serve();
    const { status, document } = await curl('/keys');
    expect(status).toBe(200);
    expect(document).toEqual({
      generation: 2,
      keyrings: [
        {
          keySet: 'wallet-kek',
          revision: 2,
          active: 4,
          accept: [4],
          versions: [
            {
              version: 4,
              state: 'active',
              algorithm: 'AES-256',
              use: 'wrap',
              kcv: expect.stringMatching(/^[0-9a-f]{10}$/),
            },
          ],
        },
      ],
    });
    expect(JSON.stringify(document)).not.toContain(bytes.toBase64());
    expect(view.handedOut).toEqual([]);
  });
});

describe('GET /keys/<set>', () => {
  const KeysAnswer = z.object({
    active: z.number(),
    keys: z.array(z.object({ version: z.number(), state: z.string(), key: z.base64() })),
  });

  test('then accepted versions come with their bytes, others without, and the copies are wiped', async () => {
    view.store('wallet-kek', 2);
    view.store('wallet-kek', 3);
    const four = view.store('wallet-kek', 4);
    const five = view.store('wallet-kek', 5);
    view.activate('wallet-kek', 4);
    view.retire('wallet-kek', 3);
    view.destroy('wallet-kek', 2);
    await serve();
    const { active, keys } = KeysAnswer.parse((await curl('/keys/wallet-kek')).document);
    expect(active).toBe(4);
    expect(keys).toEqual([
      { version: 4, state: 'active', key: four.toBase64() },
      { version: 5, state: 'stored', key: five.toBase64() },
    ]);
    expect(view.handedOut).toHaveLength(2);
    for (const copy of view.handedOut) expect([...copy].every((octet) => octet === 0)).toBe(true);
  });

  test('when one version is asked for, then it alone comes; a retired, destroyed or unknown one is refused', async () => {
    view.store('wallet-kek', 2);
    view.store('wallet-kek', 3);
    const four = view.store('wallet-kek', 4);
    view.retire('wallet-kek', 3);
    view.destroy('wallet-kek', 2);
    await serve();
    const { keys } = KeysAnswer.extend({ active: z.null() }).parse((await curl('/keys/wallet-kek?version=4')).document);
    expect(keys).toEqual([{ version: 4, state: 'stored', key: four.toBase64() }]);
    expect(await curl('/keys/wallet-kek?version=3')).toEqual(problem(409, 'keyset.state-refused'));
    expect(await curl('/keys/wallet-kek?version=2')).toEqual(problem(409, 'keyset.state-refused'));
    expect(await curl('/keys/wallet-kek?version=1')).toEqual(problem(404, 'keyset.version-not-found'));
  });

  test('when the key set is unknown or no name, then it is refused', async () => {
    await serve();
    expect(await curl('/keys/wallet-kek')).toEqual(problem(404, 'keyset.not-found'));
    expect(await curl('/keys/__proto__')).toEqual(problem(400, 'input.invalid'));
    expect(await curl('/keys/..%2Fidentity')).toEqual(problem(400, 'input.invalid'));
    expect(await curl('/keys/')).toEqual(problem(400, 'input.invalid'));
    view.store('wallet-kek', 1);
    expect((await curl('/keys/wallet-kek')).status).toBe(200);
  });

  test.each(['version=0', 'version=-1', 'version=1e3', 'version=four', 'version=', 'versions=4', 'version=9999999'])(
    'when the query is %s, then it is refused',
    async (query) => {
      view.store('wallet-kek', 4);
      await serve();
      expect(await curl(`/keys/wallet-kek?${query}`)).toEqual(problem(400, 'input.invalid'));
      expect((await curl('/keys/wallet-kek?version=4')).status).toBe(200);
    },
  );
});

describe('GET /identity', () => {
  const IdentityAnswer = z.object({
    certificate: z.string(),
    chain: z.string(),
    serial: z.string(),
    keyFile: z.string(),
    key: z.string().optional(),
  });

  test('then certificate and chain are PEM, and the private key is only named', async () => {
    view.setIdentity(credential.identity);
    await serve();
    const answer = IdentityAnswer.parse((await curl('/identity')).document);
    const certificate = new X509Certificate(answer.certificate);
    expect(certificate.serialNumber.toLowerCase()).toBe(answer.serial);
    expect(certificate.checkIssued(new X509Certificate(answer.chain))).toBe(true);
    expect(answer.keyFile).toBe('/run/x/current/identity.key');
    expect(answer.key).toBeUndefined();
  });

  test('when the key is asked for, then it comes as PKCS#8 and belongs to the certificate', async () => {
    view.setIdentity(credential.identity);
    await serve();
    const answer = IdentityAnswer.parse((await curl('/identity?key=1')).document);
    expect(new X509Certificate(answer.certificate).checkPrivateKey(createPrivateKey(answer.key ?? ''))).toBe(true);
    expect(await curl('/identity?key=yes')).toEqual(problem(400, 'input.invalid'));
  });

  test('when the device is not enrolled, then identity and trust answer 503, and after enrolment 200', async () => {
    await serve();
    expect(await curl('/identity')).toEqual(problem(503, 'agent.not-enrolled'));
    expect(await curl('/trust')).toEqual(problem(503, 'agent.not-enrolled'));
    view.setIdentity(credential.identity);
    view.setTrust(1, { identity: [credential.root] });
    expect((await curl('/identity')).status).toBe(200);
    expect((await curl('/trust')).status).toBe(200);
  });
});

test('GET /trust: anchors by purpose as PEM', async () => {
  view.setTrust(7, { identity: [credential.root], messages: [credential.root, credential.identity.certificate] });
  await serve();
  const { document } = await curl('/trust');
  const answer = z
    .object({ version: z.number(), expiresAt: z.string(), anchors: z.record(z.string(), z.string()) })
    .parse(document);
  expect(answer.version).toBe(7);
  expect(answer.expiresAt).toBe('2030-01-01T00:00:00.000Z');
  expect(Buffer.from(new X509Certificate(answer.anchors['identity'] ?? '').raw)).toEqual(Buffer.from(credential.root));
  expect(answer.anchors['messages']?.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
});

describe('GET /health', () => {
  test('then it is 503 before enrolment, 200 after, and 503 once the certificate has expired', async () => {
    const clock = new ManualClock(new Date());
    await serve({}, clock);
    expect(await curl('/health')).toMatchObject({ status: 503, document: { status: 'not-enrolled', trustVersion: 0 } });
    view.setIdentity(credential.identity);
    view.store('wallet-kek', 1);
    expect(await curl('/health')).toMatchObject({
      status: 200,
      document: { status: 'ok', device: 'egm-0001', generation: 2, keySets: [{ keySet: 'wallet-kek', active: null }] },
    });
    clock.step(credential.identity.notAfter);
    expect(await curl('/health')).toMatchObject({ status: 503, document: { status: 'certificate-expired' } });
  });
});

describe('GET /watch', () => {
  test('when things change, then each change is one line with its generation', async () => {
    view.store('wallet-kek', 1);
    await serve();
    const { next } = await watch();
    expect(await next()).toEqual({ kind: 'watching', generation: 1, resumed: false });
    view.activate('wallet-kek', 1);
    view.setTrust(3, { identity: [credential.root] });
    view.setIdentity(credential.identity);
    expect(await next()).toEqual({
      kind: 'changed',
      generation: 2,
      changes: [{ kind: 'keyring', keySet: 'wallet-kek', revision: 2, active: 1 }],
    });
    expect(await next()).toEqual({ kind: 'changed', generation: 3, changes: [{ kind: 'trust', version: 3 }] });
    expect(await next()).toEqual({
      kind: 'changed',
      generation: 4,
      changes: [{ kind: 'identity', serial: credential.identity.serial }],
    });
  });

  test('when a watch was cut and asks with the latest generation it saw, then it gets what it missed', async () => {
    await serve();
    const first = await watch();
    await first.next();
    first.child.kill();
    await once(first.child, 'exit');
    view.store('wallet-kek', 1);
    view.store('wallet-kek', 2);
    const { next } = await watch('?after=1');
    expect(await next()).toEqual({ kind: 'watching', generation: 1, resumed: true });
    expect(await next()).toMatchObject({ generation: 2, changes: [{ kind: 'keyring', revision: 2 }] });
    view.activate('wallet-kek', 2);
    expect(await next()).toMatchObject({ generation: 3, changes: [{ active: 2 }] });
  });

  test('when it asks with a generation that is not known, then it is told to read anew', async () => {
    await serve();
    const { next } = await watch('?after=99');
    expect(await next()).toEqual({ kind: 'watching', generation: 0, resumed: false });
    expect(await curl('/watch?after=-1')).toEqual(problem(400, 'input.invalid'));
  });

  test('when nothing changes, then a heartbeat comes, and again', async () => {
    const clock = new ManualClock(new Date());
    await serve({ heartbeatMs: 1_000 }, clock);
    const { next } = await watch();
    await next();
    clock.advance(1_000);
    expect(await next()).toEqual({ kind: 'heartbeat', generation: 0 });
    view.store('wallet-kek', 1);
    await next();
    clock.advance(999);
    clock.advance(1);
    expect(await next()).toEqual({ kind: 'heartbeat', generation: 1 });
  });

  test('when the agent stops, then the watch ends cleanly', async () => {
    await serve();
    const { next, child } = await watch();
    await next();
    const exited = once(child, 'exit');
    await server?.close();
    server = undefined;
    expect(await next()).toBeUndefined();
    expect((await exited)[0]).toBe(0);
  });

  test('when there are as many watches as allowed, then another is refused until one ends, and other requests are served', async () => {
    await serve({ maxWatches: 1 });
    const { next, child } = await watch();
    await next();
    expect(await curl('/watch')).toEqual(problem(503, 'input.invalid'));
    expect((await curl('/keys')).status).toBe(200);
    child.kill();
    await once(child, 'exit');
    await expect.poll(async () => (await (await watch()).next()) ?? {}).toMatchObject({ kind: 'watching' });
  });

  test('when a reader does not read, then it is cut off and the others go on', async () => {
    await serve({ maxUnreadWatchOctets: 16 * 1024 });
    const lazy = await raw('GET /watch HTTP/1.1\r\nhost: agent\r\n\r\n');
    lazy.pause();
    const { next } = await watch();
    await next();
    for (let version = 1; version <= 20_000; version += 1) {
      view.setTrust(version, {});
      if (version % 50 === 0) for (let line = 0; line < 50; line += 1) await next();
    }
    const cut = once(lazy, 'close');
    lazy.resume();
    await cut;
    view.setTrust(20_001, {});
    expect(await next()).toEqual({
      kind: 'changed',
      generation: 20_001,
      changes: [{ kind: 'trust', version: 20_001 }],
    });
  });
});

describe('busy', () => {
  test('when an application is busy, then activations wait, until it is not', async () => {
    view.store('wallet-kek', 1);
    await serve();
    const until = new Date(Date.now() + 600_000).toISOString();
    const body = JSON.stringify({ keySet: 'wallet-kek', until, reason: 'credits on the meter' });
    const put = await curl('/busy', '-X', 'PUT', '-d', body);
    expect(put).toMatchObject({
      status: 200,
      document: { lease: { holder: 'application', keySet: 'wallet-kek', seconds: 600 } },
    });
    const wallet = KeySetName.parse('wallet-kek');
    expect(busy.busyUntil(wallet, new Date())?.getTime()).toBeGreaterThan(Date.now() + 590_000);
    expect((await curl('/busy')).document).toMatchObject({ leases: [{ reason: 'credits on the meter' }] });
    expect(await curl('/busy?holder=another', '-X', 'DELETE')).toMatchObject({
      status: 200,
      document: { released: 0 },
    });
    expect(await curl('/busy', '-X', 'DELETE')).toMatchObject({ status: 200, document: { released: 1 } });
    expect(busy.busyUntil(wallet, new Date())).toBeUndefined();
  });

  test.each([
    ['not JSON', '{', 400, 'json.malformed'],
    ['no reason', '{"seconds":60}', 400, 'json.malformed'],
    ['too long', '{"seconds":86400,"reason":"busy"}', 400, 'input.invalid'],
    ['on a key set that is not held', '{"seconds":60,"keySet":"walet-kek","reason":"busy"}', 404, 'keyset.not-found'],
    ['larger than the limit', JSON.stringify({ seconds: 60, reason: 'x'.repeat(5_000) }), 413, 'input.too-large'],
  ])('when a lease is %s, then it is refused and its twin granted', async (_, body, status, code) => {
    view.store('wallet-kek', 1);
    await serve();
    expect(await curl('/busy', '-X', 'PUT', '-d', body)).toEqual(problem(status, code));
    expect(busy.list()).toEqual([]);
    const twin = '{"seconds":60,"keySet":"wallet-kek","reason":"busy"}';
    expect((await curl('/busy', '-X', 'PUT', '-d', twin)).status).toBe(200);
  });
});

function raw(text: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(text, () => resolve(socket)));
    socket.once('error', reject);
  });
}

async function rawAnswer(text: string): Promise<string> {
  const socket = await raw(text);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('given a request that is not for this interface', () => {
  test('when the path is unknown it is 404, when the method is wrong 405 with the right ones named', async () => {
    await serve();
    for (const target of ['/', '/key', '/keys/a/b', '/constructor', '/health/x'])
      expect(await curl(target)).toEqual(problem(404, 'input.invalid'));
    const wrong = await curl('/busy', '-X', 'POST', '-d', '{}');
    expect(wrong).toEqual(problem(405, 'input.invalid'));
    expect(wrong.document).toMatchObject({ detail: expect.stringContaining('GET, PUT, DELETE') });
  });

  test('when it is no HTTP, has a header that is too large, or does not end, then it is told so', async () => {
    await serve({ requestTimeoutMs: 200 });
    expect(await rawAnswer('hello\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [^]*input\.invalid/);
    expect(await rawAnswer(`GET /keys HTTP/1.1\r\nhost: agent\r\nx: ${'y'.repeat(9_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
    expect(await rawAnswer('PUT /busy HTTP/1.1\r\nhost: agent\r\ncontent-length: 10\r\n\r\nabc')).toMatch(
      /^HTTP\/1\.1 408 /,
    );
    expect(
      await rawAnswer(`GET /keys HTTP/1.1\r\nhost: agent\r\nconnection: close\r\nx: ${'y'.repeat(7_000)}\r\n\r\n`),
    ).toMatch(/^HTTP\/1\.1 200 /);
  });

  test('when there are more connections than allowed, then the next is closed, and one that ends makes room', async () => {
    await serve({ maxConnections: 1 });
    const held = await raw('');
    await expect(askAgent(path, '/keys')).rejects.toEqual(expect.objectContaining({ code: 'agent.not-running' }));
    held.destroy();
    await expect
      .poll(() =>
        askAgent(path, '/keys').then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(200);
  });
});

describe('askAgent', () => {
  test('then the answer is parsed, refusals come back as the code of the agent, and a dead socket is named', async () => {
    await serve();
    expect(await askAgent(path, '/keys')).toEqual({ status: 200, document: { generation: 0, keyrings: [] } });
    await expect(askAgent(path, '/keys/none')).rejects.toEqual(expect.objectContaining({ code: 'keyset.not-found' }));
    expect((await askAgent(path, '/health', { accept: [200, 503] })).status).toBe(503);
    expect(await askAgent(path, '/busy', { method: 'PUT', body: { seconds: 5, reason: 'x' } })).toMatchObject({
      status: 200,
    });
    await expect(askAgent(join(directory, 'none.sock'), '/keys')).rejects.toEqual(
      expect.objectContaining({ code: 'agent.not-running' }),
    );
  });
});
