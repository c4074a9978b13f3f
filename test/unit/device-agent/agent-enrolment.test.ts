import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Sha256 } from '#schema/ids.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { memoryState } from '#agent/agent.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { agentRun, type AgentRun } from '#test/support/agent-run.ts';
import { DeviceSideGateway } from '#test/support/device-side-gateway.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { waitUntil } from '#test/support/wait-until.ts';

let gateway: DeviceSideGateway;
const runs: AgentRun[] = [];

beforeAll(async () => {
  gateway = await DeviceSideGateway.start();
  await gateway.authority.publishBundle();
});

afterEach(async () => {
  for (const run of runs.splice(0)) await run.agent.stop();
  gateway.estFaults.length = 0;
});

afterAll(async () => {
  await gateway.stop();
});

function start(options: Parameters<typeof agentRun>[0]): AgentRun {
  const run = agentRun(options);
  runs.push(run);
  return run;
}

const enrolments = (device: string): string[] =>
  gateway.estRequests
    .filter(({ operation, authorization }) => operation === 'simpleenroll' && deviceOf(authorization) === device)
    .map(({ body }) => body);

const deviceOf = (authorization: string | undefined): string =>
  Buffer.from(authorization?.replace('Basic ', '') ?? '', 'base64')
    .toString()
    .split(':')[0] ?? '';

describe('given a device with a ticket', () => {
  test('when its agent starts, then it enrols, takes the trust bundle, connects and reports', async () => {
    const run = start({ ticket: gateway.ticket('egm-1') });
    await run.agent.start();
    await run.event('report-sent');
    const { serial } = await run.event('enrolled');
    expect(run.agent.view.identity()?.serial).toBe(serial);
    expect(parseCertificate(gateway.certificateOf('egm-1')).serialNumber).toBe(serial);
    expect(run.agent.view.trust()?.version).toBe(1);
    expect(gateway.reportsOf('egm-1')).toMatchObject([
      { counter: 1, previous: null, lastSeq: 0, trustVersion: 1, identity: { serial }, clock: { trusted: false } },
    ]);
    expect(run.all('error')).toEqual([]);
  });

  test.each(['EC-P384', 'RSA-2048'] as const)('with a key of type %s, then it works the same', async (keyAlgorithm) => {
    const run = start({ ticket: gateway.ticket(`kiosk-${keyAlgorithm}`), keyAlgorithm });
    await run.agent.start();
    await run.event('report-sent');
    expect(run.agent.view.identity()?.privateKey.asymmetricKeyType).toBe(keyAlgorithm.startsWith('EC') ? 'ec' : 'rsa');
  });

  test('when the answer to the enrolment is lost, then the identical request is sent and one certificate issued', async () => {
    gateway.estFaults.push({ kind: 'lose-answer' });
    const run = start({ ticket: gateway.ticket('egm-2') });
    await run.agent.start();
    await run.event('connected');
    const requests = enrolments('egm-2');
    expect(requests).toHaveLength(2);
    expect(new Set(requests).size).toBe(1);
    expect(gateway.issued.get('egm-2')).toHaveLength(1);
  });

  test('when the answer is lost and the process dies, then the next process sends the identical request', async () => {
    gateway.estFaults.push({ kind: 'lose-answer' });
    const state = memoryState();
    const first = agentRun({
      ticket: gateway.ticket('egm-3'),
      state,
      timing: { backoffMinMs: 60_000, backoffMaxMs: 60_000 },
    });
    await first.agent.start();
    await first.event('error');
    first.agent.kill();
    const second = start({ ticket: gateway.ticket('egm-3'), state });
    await second.agent.start();
    await second.event('connected');
    expect(new Set(enrolments('egm-3')).size).toBe(1);
    expect(gateway.issued.get('egm-3')).toHaveLength(1);
  });

  test('when the root does not match the ticket, then the code is never sent; with the right root it is', async () => {
    const wrong = start({ ticket: gateway.ticket('egm-4', { root: Sha256.parse('a'.repeat(64)) }) });
    await wrong.agent.start();
    expect(await wrong.event('error')).toMatchObject({ activity: 'enrol', code: 'trust.root-mismatch' });
    expect(enrolments('egm-4')).toEqual([]);
    const right = start({ ticket: gateway.ticket('egm-4') });
    await right.agent.start();
    await right.event('connected');
    expect(enrolments('egm-4')).toHaveLength(1);
  });

  test('when the request is parked, then the agent waits as told and repeats it', async () => {
    gateway.estFaults.push({ kind: 'answer', status: 202, headers: { 'Retry-After': '1' } });
    const run = start({ ticket: gateway.ticket('egm-5') });
    await run.agent.start();
    expect(await run.event('parked')).toEqual({ kind: 'parked', retryAfterMs: 1000 });
    expect(run.agent.status().phase).toBe('parked');
    await run.event('connected');
    expect(new Set(enrolments('egm-5')).size).toBe(1);
  });

  test.each([
    [401, 'enrolment.code-invalid'],
    [400, 'enrolment.refused'],
    [429, 'enrolment.rate-limited'],
    [503, 'network.unreachable'],
  ])('when the gateway answers %i, then the agent names %s and tries again', async (status, code) => {
    gateway.estFaults.push({ kind: 'answer', status, headers: { 'Content-Type': 'text/plain' }, body: 'because' });
    const run = start({ ticket: gateway.ticket(`egm-${status}`) });
    await run.agent.start();
    const error = await run.event('error');
    expect(error).toMatchObject({ activity: 'enrol', code });
    expect(error.message).toContain('because');
    await run.event('connected');
    expect(run.agent.status().problem).toBeUndefined();
  });

  test('then the ticket of another device is refused for the same state, its own is accepted', async () => {
    const state = memoryState();
    const first = agentRun({ ticket: gateway.ticket('egm-6'), state });
    await first.agent.start();
    await first.event('connected');
    await first.agent.stop();
    await expectRefusal('ticket.invalid', () => agentRun({ ticket: gateway.ticket('egm-7'), state }).agent.start());
    const again = start({ ticket: gateway.ticket('egm-6'), state });
    await again.agent.start();
    await again.event('connected');
    expect(enrolments('egm-6')).toHaveLength(1);
  });
});

test('given neither a state nor a ticket, then the agent does not start', async () => {
  await expectRefusal('agent.not-enrolled', () => agentRun({}).agent.start());
});

test('given Ed25519, with which messages are not signed, then the agent does not start', async () => {
  const run = agentRun({ ticket: gateway.ticket('egm-8'), keyAlgorithm: 'Ed25519' });
  await expectRefusal('input.invalid', () => run.agent.start());
});

describe('given an enrolled device', () => {
  test('when it starts again, then its last report is sent again, and the next one follows it', async () => {
    const state = memoryState();
    const first = agentRun({ ticket: gateway.ticket('egm-9'), state });
    await first.agent.start();
    await first.event('report-sent');
    await first.agent.stop();
    const second = start({ state });
    await second.agent.start();
    await waitUntil(
      () => gateway.reportsOf('egm-9').length >= 3,
      () => 'three reports',
    );
    const [one, repeated, two] = gateway.reportsOf('egm-9');
    expect(repeated).toEqual(one);
    expect(two).toMatchObject({ counter: 2 });
    expect(two?.previous).not.toBeNull();
    expect(two?.bootId).not.toBe(one?.bootId);
  });

  test('when the connection drops, then it connects again by itself', async () => {
    const run = start({ ticket: gateway.ticket('egm-10') });
    await run.agent.start();
    await run.event('report-sent');
    gateway.dropConnections();
    await run.event('disconnected');
    await run.event('connected', 2);
    await waitUntil(
      () => gateway.reportsOf('egm-10').length === 2,
      () => 'a second report',
    );
  });

  test('when it is told to renew, then the next identity is promoted on its first use and signs', async () => {
    const run = start({ ticket: gateway.ticket('egm-11') });
    await run.agent.start();
    await run.event('report-sent');
    const old = run.agent.view.identity()?.serial;
    await run.agent.renew();
    const { serial } = await run.event('promoted');
    expect(serial).not.toBe(old);
    expect(run.agent.view.identity()?.serial).toBe(serial);
    const renewal = gateway.estRequests.findLast(({ operation }) => operation === 'simplereenroll');
    expect(renewal?.client).toBe(old);
    expect(renewal?.authorization).toBeUndefined();
    await waitUntil(
      () => gateway.reportsOf('egm-11').at(-1)?.identity.serial === serial,
      () => 'a report by the new key',
    );
  });

  test('when the broker refuses the next identity, then the current one goes on, and the next is given up', async () => {
    const run = start({ ticket: gateway.ticket('egm-12') });
    await run.agent.start();
    await run.event('report-sent');
    const old = run.agent.view.identity()?.serial;
    run.agent.onEvent((event) => {
      if (event.kind === 'renewed') gateway.refusedSerials.add(event.serial);
    });
    await run.agent.renew();
    await run.event('connected', 2);
    expect(run.agent.view.identity()?.serial).toBe(old);
    expect(run.all('promoted')).toEqual([]);
  });
});

test('given a clock ten years ahead, when nobody tells the time, then the certificate is renewed once, not again and again', async () => {
  const years = 10 * 366 * 86_400_000;
  const clock = { ...systemClock, now: () => new Date(Date.now() + years) };
  const state = memoryState();
  const first = start({ ticket: gateway.ticket('egm-14'), state });
  await first.agent.start();
  await first.event('report-sent');
  await first.agent.stop();

  const run = start({ state, clock });
  await run.agent.start();
  await run.event('promoted');
  for (let count = 0; count < 20; count += 1) await run.agent.report();
  expect(run.all('renewed')).toHaveLength(1);
  expect(run.all('disconnected')).toEqual([]);
});

test('given a network that swallows everything, when the agent is stopped, then it does not wait for it', async () => {
  const { createServer } = await import('node:net');
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = silent.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const connections: unknown[] = [];
  silent.on('connection', (socket) => connections.push(socket));
  const ticket = gateway.ticket('egm-13', { est: `https://127.0.0.1:${port}` });
  const run = agentRun({ ticket, timing: { timeoutMs: 3_600_000 } });
  await run.agent.start();
  await waitUntil(
    () => connections.length > 0,
    () => 'a connection',
  );
  await run.agent.stop();
  expect(run.agent.status().phase).toBe('stopped');
  silent.close();
});
