/** Webhooks against real servers, over a real database; the clock moves when the test says so. */
import { Buffer } from 'node:buffer';
import { execFile } from 'node:child_process';
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AuditRecord } from '#schema/audit.ts';
import { WebhookConfig } from '#schema/config.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { seededRandom } from '#schema/runtime/random.ts';
import { verifyChain } from '#gateway/audit/chain.ts';
import { startWebhooks, type Webhooks } from '#gateway/audit/webhooks.ts';
import { silentLog, type Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { openWebhook } from '#gateway/webhooks/files.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { event, REALM, second } from '#test/support/store-fixtures.ts';
import { createTestPki, type TestPki } from '#test/support/test-certificates.ts';
import { waitUntil } from '#test/support/wait-until.ts';
import { startReceiver, status, type Delivery, type Receiver } from '#test/support/webhook-receiver.ts';

const run = promisify(execFile);
const SECRET = randomBytes(32);

/** Verification as the Standard Webhooks specification describes it, written from its text alone. */
function isGenuine({ headers, body }: Delivery, secret: Buffer): boolean {
  const content = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  const expected = createHmac('sha256', secret).update(content, 'utf8').digest();
  return String(headers['webhook-signature'])
    .split(' ')
    .some((part) => {
      const [version, signature = ''] = part.split(',');
      const given = Buffer.from(signature, 'base64');
      return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
    });
}

interface Running extends Webhooks {
  readonly logged: string[];
  readonly counted: string[];
}

let directory: string;
let clock: ManualClock;
let store: Store;
let receivers: Receiver[];
let running: Running[];

const open = (): Promise<Store> =>
  openSqliteStore({ path: join(directory, 'croupier.db'), realm: REALM, clock, busyTimeoutMs: 1_000 });

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-webhooks-'));
  writeFileSync(join(directory, 'secret'), `whsec_${SECRET.toString('base64')}\n`, { mode: 0o600 });
  clock = new ManualClock(second(0));
  store = await open();
  receivers = [];
  running = [];
});
afterEach(async () => {
  for (const one of running) await one.stop();
  for (const receiver of receivers) await receiver.close();
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

async function receiver(options: Parameters<typeof startReceiver>[0] = {}): Promise<Receiver> {
  const started = await startReceiver(options);
  receivers.push(started);
  return started;
}

const config = (url: string, over: Partial<Record<keyof WebhookConfig, unknown>> = {}): WebhookConfig =>
  WebhookConfig.parse({ name: 'chat', url, secretFile: join(directory, 'secret'), events: ['test.*'], ...over });

async function start(...configs: readonly WebhookConfig[]): Promise<Running> {
  const logged: string[] = [];
  const counted: string[] = [];
  const note = (_: object, message: string): void => void logged.push(message);
  const log: Log = { ...silentLog, warn: note, error: note };
  const metrics = { webhooks: (name: string, outcome: string) => void counted.push(`${name} ${outcome}`) };
  const setups = await Promise.all(configs.map((one) => openWebhook(one, clock)));
  const webhooks = await startWebhooks(setups, { store, clock, random: seededRandom('webhooks'), log, metrics });
  const started = { ...webhooks, logged, counted };
  running.push(started);
  return started;
}

const write = (...actions: readonly string[]): Promise<void> =>
  store.appendAudit(
    actions.map((action) => event(action)),
    clock.now(),
  );

/** Until the hook has said so many times that something was not taken. */
const complained = ({ logged }: Running, times: number): Promise<unknown> =>
  waitUntil(
    () => logged.length >= times,
    () => `${times} complaints; there are ${JSON.stringify(logged)}`,
  );

const count = ({ counted }: Running, what: string): number => counted.filter((one) => one === what).length;

const MINUTE = 60_000;

describe('delivery', () => {
  test('given records of all kinds, when they are written, then those asked for arrive, in order, whole and signed', async () => {
    const chat = await receiver();
    await write('test.before');
    const hook = await start(config(chat.url));
    await write('test.one', 'other.thing');
    await write('test.two');
    const deliveries = await chat.received(2);
    const records = await store.auditRecords(1, 10);
    expect(deliveries.map(({ payload }) => payload['data'])).toEqual([records[0], records[2]]);
    for (const delivery of deliveries) {
      const { headers, payload } = delivery;
      expect(isGenuine(delivery, SECRET)).toBe(true);
      expect(isGenuine({ ...delivery, body: `${delivery.body} ` }, SECRET)).toBe(false);
      expect(isGenuine(delivery, randomBytes(32))).toBe(false);
      expect(headers['webhook-id']).toBe(payload.id);
      expect(headers['webhook-timestamp']).toBe(String(second(0).getTime() / 1000));
      expect(headers['content-type']).toBe('application/json');
      expect(AuditRecord.parse(payload['data']).id).toBe(payload.id);
    }
    await waitUntil(
      () => count(hook, 'chat delivered') === 2,
      () => 'two deliveries',
    );
    expect(hook.counted).toHaveLength(2);
    expect(chat.connections()).toBe(1);
  });

  test('given everything is asked for, when it has arrived, then the receiver holds a chain that verifies', async () => {
    const chat = await receiver();
    await start(config(chat.url, { events: ['*'] }));
    for (let round = 0; round < 40; round += 1) await write('test.a', 'test.b', 'test.c', 'test.d');
    const deliveries = await chat.received(160);
    const records = deliveries.map(({ payload }) => AuditRecord.parse(payload['data']));
    expect(verifyChain(records)).toEqual(await store.auditHead());
  });

  test('given a record that raises an alert, when alerts are asked for, then it comes with its alert', async () => {
    const chat = await receiver();
    await start(config(chat.url, { events: ['alert.*'] }));
    const by = { type: 'device', id: 'egm-1' } as const;
    await write('test.one');
    await store.appendAudit(
      [event('device.quarantine', { code: 'report.forked', actor: by, device: 'egm-1' })],
      clock.now(),
    );
    const [delivery] = await chat.received(1);
    expect(delivery?.payload).toMatchObject({
      type: 'device.quarantine',
      alert: { code: 'report.forked', severity: 'critical', device: 'egm-1' },
    });
  });

  test('given records that another process writes, when nobody rings, then they are found by looking', async () => {
    const chat = await receiver();
    await start(config(chat.url));
    const other = await open();
    await other.appendAudit([event('test.elsewhere')], clock.now());
    await other.close();
    await waitUntil(
      () => {
        clock.advance(1_000);
        return chat.deliveries.length > 0;
      },
      () => 'the record of the other process',
    );
    expect(chat.seqs()).toEqual([1]);
  });

  test('given a receiver that closes idle connections, when the next record comes, then it arrives without a failure', async () => {
    const chat = await receiver();
    const hook = await start(config(chat.url));
    await write('test.one');
    await chat.received(1);
    chat.dropIdle();
    await write('test.two');
    await chat.received(2);
    expect([chat.seqs(), count(hook, 'chat failed')]).toEqual([[1, 2], 0]);
  });

  test('given an answer without end, when the status is known, then the record counts as taken', async () => {
    const chat = await receiver();
    const hook = await start(config(chat.url));
    chat.answer((response) => {
      const pour = (): void => {
        while (!response.destroyed && response.write('x'.repeat(16_384)));
        if (!response.destroyed) response.once('drain', pour);
      };
      response.writeHead(200);
      pour();
    });
    await write('test.one', 'test.two');
    await chat.received(2);
    expect(hook.logged).toEqual([]);
  });
});

describe('trouble', () => {
  test('given a receiver that answers 500, when time passes, then the same record is sent again, later and later, and the order holds', async () => {
    const chat = await receiver();
    const hook = await start(config(chat.url));
    chat.answer(status(500));
    await write('test.one', 'test.two');
    await complained(hook, 1);
    expect(hook.lags()).toEqual([{ name: 'chat', seconds: 0 }]);
    clock.advance(1_000);
    await complained(hook, 2);
    // The second wait is longer than the first.
    clock.advance(999);
    await write('other.thing');
    expect(chat.seqs()).toEqual([1, 1]);
    chat.answer(status(200));
    clock.advance(1_001);
    const deliveries = await chat.received(4);
    expect(chat.seqs()).toEqual([1, 1, 1, 2]);
    const [first, , third] = deliveries;
    expect(third?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
    expect(Number(third?.headers['webhook-timestamp'])).toBeGreaterThan(Number(first?.headers['webhook-timestamp']));
    expect(deliveries.every((delivery) => isGenuine(delivery, SECRET))).toBe(true);
    await waitUntil(
      () => count(hook, 'chat delivered') === 2,
      () => 'two deliveries',
    );
    expect([count(hook, 'chat failed'), hook.lags()]).toEqual([2, [{ name: 'chat', seconds: 0 }]]);
  });

  test('given a receiver that never answers, when the timeout is over, then the record is sent again', async () => {
    const chat = await receiver();
    chat.answer(() => {});
    const hook = await start(config(chat.url, { timeout: '3s' }));
    await write('test.one');
    await chat.received(1);
    clock.advance(3_000);
    await complained(hook, 1);
    expect(hook.logged[0]).toContain('no answer within 3000 ms');
    expect(hook.lags()).toEqual([{ name: 'chat', seconds: 3 }]);
    chat.answer(status(200));
    clock.advance(1_000);
    await chat.received(2);
    expect(chat.seqs()).toEqual([1, 1]);
  });

  test('given nobody listens, when somebody does again, then what was written meanwhile arrives, in order', async () => {
    const gone = await startReceiver();
    const port = Number(new URL(gone.url).port);
    await gone.close();
    const hook = await start(config(gone.url));
    await write('test.one', 'test.two');
    await complained(hook, 1);
    expect(hook.logged[0]).toContain('ECONNREFUSED');
    await write('test.three');
    const back = await receiver({ port });
    clock.advance(1_000);
    await back.received(3);
    expect(back.seqs()).toEqual([1, 2, 3]);
  });

  test('given 503 with Retry-After, when it is sent again, then not before', async () => {
    const chat = await receiver();
    chat.answer(status(503, { 'retry-after': '120' }));
    const hook = await start(config(chat.url));
    await write('test.one');
    await complained(hook, 1);
    chat.answer(status(200));
    clock.advance(119_000);
    await write('other.thing');
    expect(chat.seqs()).toEqual([1]);
    clock.advance(1_000);
    await chat.received(2);
    expect(chat.seqs()).toEqual([1, 1]);
  });

  test('given a redirect, when it is answered, then it is not followed', async () => {
    const chat = await receiver();
    const elsewhere = await receiver();
    chat.answer(status(307, { location: elsewhere.url }));
    const hook = await start(config(chat.url));
    await write('test.one');
    await complained(hook, 1);
    expect(hook.logged[0]).toContain('307, and redirects are not followed');
    expect(elsewhere.deliveries).toEqual([]);
  });

  test('given a webhook that hangs, when records are written, then another one gets them all meanwhile', async () => {
    const slow = await receiver();
    const quick = await receiver();
    slow.answer(() => {});
    await start(config(slow.url, { name: 'slow' }), config(quick.url, { name: 'quick' }));
    for (let round = 0; round < 20; round += 1) await write('test.one');
    await quick.received(20);
    expect(slow.seqs()).toEqual([1]);
  });
});

describe('restart', () => {
  test('given a webhook that has stopped, when it starts again, then it goes on with what was written meanwhile', async () => {
    const chat = await receiver();
    const first = await start(config(chat.url));
    await write('test.one', 'other.thing');
    await chat.received(1);
    await first.stop();
    await write('test.two');
    expect(await store.webhookCursor('chat')).toBe(2);
    await start(config(chat.url));
    await chat.received(2);
    expect(chat.seqs()).toEqual([1, 3]);
  });

  test('given a delivery under way, when it stops, then it stops at once, and the record is sent again', async () => {
    const chat = await receiver();
    chat.answer(() => {});
    const first = await start(config(chat.url));
    await write('test.one');
    await chat.received(1);
    await first.stop();
    expect(first.logged).toEqual([]);
    chat.answer(status(200));
    await start(config(chat.url));
    await chat.received(2);
    expect(chat.seqs()).toEqual([1, 1]);
  });

  test('given a process that dies after many deliveries, when the next one starts, then it repeats a bounded number', async () => {
    const chat = await receiver();
    const hook = await start(config(chat.url));
    const actions = Array.from({ length: 200 }, () => 'test.one');
    await write(...actions);
    await chat.received(130);
    const saved = await store.webhookCursor('chat');
    expect(chat.deliveries.length - (saved ?? 0)).toBeLessThan(100);
    await hook.stop();
  });

  test('given two webhooks, when one is new, then it starts at the end of the trail, and the other where it was', async () => {
    const old = await receiver();
    const fresh = await receiver();
    await (await start(config(old.url, { name: 'old' }))).stop();
    await write('test.one');
    await start(config(old.url, { name: 'old' }), config(fresh.url, { name: 'fresh' }));
    await write('test.two');
    await old.received(2);
    await fresh.received(1);
    expect([old.seqs(), fresh.seqs()]).toEqual([[1, 2], [2]]);
  });
});

describe('giving up', () => {
  const failures = async (): Promise<readonly AuditRecord[]> =>
    (await store.auditRecords(0, 1_000)).filter(({ action }) => action === 'webhook.failed');

  test('given a receiver that is away longer than the greatest age, then what is too old is passed over, on record, and newer records wait on', async () => {
    const chat = await receiver();
    chat.answer(status(500));
    const hook = await start(config(chat.url, { maxAge: '10m', events: ['test.*', 'webhook.*'] }));
    await write('test.one', 'test.two');
    await complained(hook, 1);
    clock.advance(9 * MINUTE);
    await write('test.three');
    await complained(hook, 2);
    clock.advance(2 * MINUTE);
    await waitUntil(
      () => count(hook, 'chat given-up') === 2,
      () => 'two records given up',
    );
    await waitUntil(
      () => hook.logged.some((line) => line.includes('2 records given up')),
      () => 'the log to say so',
    );
    await expect.poll(async () => (await failures()).length).toBe(1);
    const [failed] = await failures();
    expect(failed).toMatchObject({
      code: 'webhook.failed',
      object: { type: 'webhook', id: 'chat' },
      details: { first: 1, last: 2, records: 2, fault: 'it answered 500' },
    });
    expect((await store.alerts({ open: true, limit: 10 })).map(({ subject }) => subject)).toEqual([
      'webhook.failed chat',
    ]);
    chat.answer(status(200));
    clock.advance(5 * MINUTE);
    await waitUntil(
      () => chat.seqs().at(-1) === 3,
      () => 'the record that was young enough',
    );
    await hook.stop();
    expect(await failures()).toHaveLength(1);
  });

  test('given one record that the receiver refuses for good, then it alone is given up, and the next ones arrive', async () => {
    const chat = await receiver();
    chat.answer((response, delivery) => status(delivery.payload.type === 'test.bad' ? 400 : 200)(response, delivery));
    const hook = await start(config(chat.url, { maxAge: '10m' }));
    await write('test.bad', 'test.good');
    await complained(hook, 1);
    clock.advance(11 * MINUTE);
    await waitUntil(
      () => chat.seqs().at(-1) === 2,
      () => 'the record behind the bad one',
    );
    expect((await failures()).map(({ details }) => details)).toEqual([
      { first: 1, last: 1, records: 1, fault: 'it answered 400' },
    ]);
  });

  test('given two webhooks that want everything and reach nobody, then their failures do not beget failures without end', async () => {
    const dead = await startReceiver();
    await dead.close();
    const everything = { events: ['*'], maxAge: '1m' };
    const hooks = await start(
      config(dead.url, { name: 'a', ...everything }),
      config(dead.url, { name: 'b', ...everything }),
    );
    await write('test.one');
    await waitUntil(
      () => {
        clock.advance(MINUTE);
        return count(hooks, 'a given-up') >= 2 && count(hooks, 'b given-up') >= 2;
      },
      () => 'both to give up the failure of the other, too',
    );
    await expect.poll(async () => (await failures()).length).toBe(2);
    for (let round = 0; round < 5; round += 1) {
      clock.advance(10 * MINUTE);
      await store.auditHead();
    }
    const told = (await failures()).map(({ object }) => object?.id);
    expect([told.length, new Set(told)]).toEqual([2, new Set(['a', 'b'])]);
  });
});

describe('TLS', () => {
  let pki: TestPki;
  beforeAll(async () => {
    pki = await createTestPki();
  });
  afterAll(() => pki.remove());

  const https = (): Promise<Receiver> => receiver({ tls: { key: pki.gateway.key, cert: pki.gatewayChain } });

  test('given the certificate of its root, when it posts, then the receiver gets it; with another root, nothing', async () => {
    const chat = await https();
    writeFileSync(join(directory, 'good.pem'), pki.root.cert);
    writeFileSync(join(directory, 'bad.pem'), pki.foreignRoot.cert);
    const hooks = await start(
      config(chat.url, { name: 'good', ca: join(directory, 'good.pem') }),
      config(chat.url, { name: 'bad', ca: join(directory, 'bad.pem') }),
      config(chat.url, { name: 'system' }),
    );
    await write('test.one');
    await chat.received(1);
    await complained(hooks, 2);
    expect([...hooks.counted].sort()).toEqual(['bad failed', 'good delivered', 'system failed']);
  });

  test('given a certificate file that holds none, when it is opened, then it is refused; likewise one that is missing', async () => {
    writeFileSync(join(directory, 'empty.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    const broken = config('https://localhost/', { ca: join(directory, 'empty.pem') });
    await expectRefusal('config.invalid', () => openWebhook(broken, clock));
    const missing = config('https://localhost/', { ca: join(directory, 'missing.pem') });
    await expectRefusal('config.missing', () => openWebhook(missing, clock));
  });
});

describe('the secret file', () => {
  test('given a file that others may read, or none, when it is opened, then it is refused; one of the owner is taken', async () => {
    const file = join(directory, 'open');
    writeFileSync(file, SECRET.toString('base64'), { mode: 0o644 });
    const refusal = await expectRefusal('config.invalid', () =>
      openWebhook(config('https://localhost/', { secretFile: file }), clock),
    );
    expect(refusal.message).toContain('chmod 600');
    await expectRefusal('config.missing', () =>
      openWebhook(config('https://localhost/', { secretFile: `${file}-not-there` }), clock),
    );
    expect((await openWebhook(config('https://localhost/'), clock)).secrets).toEqual([SECRET]);
  });
});

describe('docs/webhooks.md', () => {
  test('given a delivery and the secret file, when the openssl commands of the guide run, then they print the signature', async () => {
    const chat = await receiver();
    await start(config(chat.url));
    await store.appendAudit([event('test.one', { details: { text: 'ünïcode' } })], clock.now());
    const [delivery] = await chat.received(1);
    const files = {
      id: String(delivery?.headers['webhook-id']),
      timestamp: String(delivery?.headers['webhook-timestamp']),
      body: delivery?.body ?? '',
    };
    for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
    const guide = readFileSync(new URL('../../../../docs/webhooks.md', import.meta.url), 'utf8');
    const script = /```sh\n([^`]+)```/.exec(guide)?.[1] ?? 'false';
    const { stdout } = await run('sh', ['-euc', script], { cwd: directory });
    expect(`v1,${stdout.trim()}`).toBe(delivery?.headers['webhook-signature']);
  });
});
