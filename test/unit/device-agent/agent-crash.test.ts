/** I4, I5, I8 on the device: whatever commit it dies in, it begins again before or after it, and converges. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memoryState, type AgentState, type StateStore } from '#agent/agent.ts';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { Report } from '#schema/messages/report.ts';
import { agentRun, type AgentRun } from '#test/support/agent-run.ts';
import { DeviceSideGateway, type ReceivedReport } from '#test/support/device-side-gateway.ts';
import { waitUntil } from '#test/support/wait-until.ts';

const KEK = KeySetName.parse('wallet-kek');

let gateway: DeviceSideGateway;

beforeAll(async () => {
  gateway = await DeviceSideGateway.start();
  await gateway.authority.publishBundle();
});

afterAll(async () => {
  await gateway.stop();
});

interface DyingStore extends StateStore {
  commits: number;
  readonly states: AgentState[];
}

/** Dies in its commit number `at`, before or after it is durable. */
function dyingStore(inner: StateStore, at: number, when: 'before' | 'after', die: () => void): DyingStore {
  const store: DyingStore = {
    commits: 0,
    states: [],
    load: () => inner.load(),
    close: () => inner.close(),
    commit: async (state) => {
      store.commits += 1;
      const isDying = store.commits === at;
      if (isDying && when === 'before') die();
      if (!isDying || when === 'after') {
        await inner.commit(state);
        store.states.push(state);
      }
      if (isDying && when === 'after') die();
      if (isDying) throw new Error('the power is cut');
    },
  };
  return store;
}

/** Answers every report with the update that closes the difference, as the gateway does. */
function serve(device: string): () => void {
  let answered = 0;
  const timer = setInterval(() => {
    const reports = gateway.reportsOf(device);
    const latest = reports.at(-1);
    if (latest === undefined || reports.length === answered) return;
    answered = reports.length;
    const ring = latest.keyrings.find(({ keySet }) => keySet === KEK);
    const held = ring?.versions.map(({ version }) => Number(version)) ?? [];
    const wanted = !held.includes(1) ? { revision: 1, accept: [1] } : { revision: 2, accept: [1, 2] };
    if (ring?.revision === 2 && ring.active === 2 && latest.clock.trusted) return;
    const keys = wanted.accept.filter((version) => !held.includes(version));
    const keyring = gateway.authority.keyring(device, gateway.certificateOf(device), { ...wanted, keys });
    void gateway.authority
      .sign(gateway.authority.updateBody(device, { nonce: latest.nonce, keyrings: [keyring] }))
      .then((der) => gateway.sendUpdate(device, der));
  }, 5);
  return () => clearInterval(timer);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The reports are one history: one report per number, each naming the one before, none telling of less. */
function assertOneHistory(reports: readonly ReceivedReport[]): void {
  const byCounter = new Map<number, ReceivedReport>();
  for (const report of reports) {
    const known = byCounter.get(report.body.counter);
    if (known !== undefined) expect(sha256(report.der)).toBe(sha256(known.der));
    byCounter.set(report.body.counter, report);
  }
  const history = [...byCounter.values()].sort((a, b) => a.body.counter - b.body.counter);
  let before: ReceivedReport | undefined;
  for (const report of history) {
    if (before?.body.counter === report.body.counter - 1) expect(report.body.previous).toBe(sha256(before.der));
    if (before !== undefined) assertNotLess(before.body, report.body);
    before = report;
  }
}

function assertNotLess(before: Report, after: Report): void {
  expect(after.lastSeq).toBeGreaterThanOrEqual(before.lastSeq);
  expect(after.trustVersion).toBeGreaterThanOrEqual(before.trustVersion);
  for (const ring of before.keyrings) {
    const now = after.keyrings.find(({ keySet }) => keySet === ring.keySet);
    for (const { version } of ring.versions) expect(now?.versions.map((held) => held.version)).toContain(version);
  }
}

async function converged(device: string, run: AgentRun): Promise<void> {
  await waitUntil(
    () => {
      const latest = gateway.reportsOf(device).at(-1);
      return latest?.keyrings[0]?.active === 2 && latest.clock.trusted;
    },
    () => `${device} to converge: ${JSON.stringify([gateway.reportsOf(device).at(-1), run.events.slice(-4)])}`,
  );
  const bytes = run.agent.view.keyBytes(KEK, KeyVersionNumber.parse(2));
  expect(Buffer.from(bytes ?? [])).toEqual(gateway.authority.keyOf(KEK, 2));
}

// New state, root, key and CSR, certificate, trust, first report, two updates.
const COMMITS = 8;
const moments = Array.from({ length: COMMITS }, (_, index) => index + 1).flatMap((at) =>
  (['before', 'after'] as const).map((when) => [at, when] as const),
);

test.each(moments)(
  'when the device dies in commit %i, %s it is durable, then it begins again and converges',
  async (at, when) => {
    const device = `egm-${at}-${when}`;
    const ticket = gateway.ticket(device);
    const inner = memoryState();
    const stopServing = serve(device);
    let hasDied = false;
    const store = dyingStore(inner, at, when, () => {
      hasDied = true;
      first.agent.kill();
    });
    const first = agentRun({ ticket, state: store });
    await first.agent.start().catch(() => undefined);
    await waitUntil(
      () => hasDied,
      () => `commit ${at}`,
    );
    const second = agentRun({ ticket, state: inner });
    try {
      await second.agent.start();
      await converged(device, second);
    } finally {
      stopServing();
      await second.agent.stop();
    }
    assertOneHistory(gateway.reports.filter(({ body }) => body.device === device));
    expect(gateway.issued.get(device)).toHaveLength(1);
  },
);

test('when nothing dies, then the life of a device up to its second key is this many commits', async () => {
  const device = 'egm-alive';
  const store = dyingStore(memoryState(), 0, 'before', () => undefined);
  const stopServing = serve(device);
  const run = agentRun({ ticket: gateway.ticket(device), state: store });
  await run.agent.start();
  await converged(device, run);
  stopServing();
  await run.agent.stop();
  expect(store.commits).toBe(COMMITS);
});
