import { createWindows } from '#gateway/rollout/window.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createMemoryBroker, type MemoryBroker } from '#gateway/broker/memory.ts';
import { createIntake, type IntakePorts } from '#gateway/delivery/intake.ts';
import { silentLog } from '#gateway/ports/log.ts';
import { silentMetrics } from '#gateway/ports/metrics.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { Policy } from '#schema/policy.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { seededRandom } from '#schema/runtime/random.ts';
import { deviceId, REALM } from '#test/support/store-fixtures.ts';

const REPORTS = 20;

let store: Store;
let broker: MemoryBroker;
beforeEach(async () => {
  store = await openSqliteStore({ path: ':memory:', realm: REALM, clock: systemClock, busyTimeoutMs: 100 });
  broker = createMemoryBroker({ realm: REALM, clock: systemClock, random: seededRandom('intake') });
});
afterEach(async () => {
  await broker.close();
  await store.close();
});

/** Records on the audit trail once all of `REPORTS` reports that verify as nothing have been counted. */
async function recordedOf(over: Pick<IntakePorts, 'mayRecordInvalid'>): Promise<number> {
  let invalid = 0;
  const intake = createIntake({
    realm: REALM,
    store,
    broker,
    clock: systemClock,
    log: silentLog,
    metrics: { ...silentMetrics, reports: (outcome) => void (invalid += outcome === 'invalid' ? 1 : 0) },
    policy: () => Policy.parse({ version: 1, classes: {} }),
    windows: () => createWindows({}),
    onDue: () => {},
    onProgress: () => {},
    ...over,
  });
  for (let count = 0; count < REPORTS; count += 1) {
    intake.accept({ device: deviceId('egm-1'), payload: Buffer.from(`noise ${count}`), address: undefined });
  }
  await vi.waitFor(() => expect(invalid).toBe(REPORTS));
  await intake.stop();
  const records = await store.auditRecords(0, 1_000);
  return records.filter(({ action }) => action === 'report.refuse').length;
}

test('given a device that sends noise, then each refusal is on record', async () => {
  expect(await recordedOf({})).toBe(REPORTS);
});

test('given a device that sends noise without end, then all of it is counted and no more is recorded than may be', async () => {
  let allowed = 5;
  expect(await recordedOf({ mayRecordInvalid: () => allowed-- > 0 })).toBe(5);
});
