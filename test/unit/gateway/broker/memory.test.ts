import { describe, expect, it } from 'vitest';
import { createMemoryBroker, NO_FAULTS, type BrokerFaults } from '#gateway/broker/memory.ts';
import { DeviceId, Realm } from '#schema/ids.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { seededRandom } from '#schema/runtime/random.ts';
import { reportTopic, updateTopic } from '#schema/topics.ts';

const realm = Realm.parse('prod');
const id = DeviceId.parse('egm-0001');

/** Sends the numbers 0 … 99 in both directions and answers what arrived. */
async function run(seed: string, faults: BrokerFaults): Promise<{ down: number[]; up: number[] }> {
  const clock = new ManualClock(new Date(0));
  const broker = createMemoryBroker({ realm, clock, random: seededRandom(seed), faults });
  const [down, up]: [number[], number[]] = [[], []];
  broker.onReport(({ payload }) => up.push(payload[0] ?? -1));
  const device = broker.connect(id);
  device.onMessage((_topic, payload) => down.push(payload[0] ?? -1));
  device.subscribe(updateTopic(realm, id));
  for (let n = 0; n < 100; n += 1) {
    await broker.publish(updateTopic(realm, id), Uint8Array.of(n));
    device.publish(reportTopic(realm, id), Uint8Array.of(n));
  }
  await Promise.resolve();
  clock.advance(10_000);
  return { down, up };
}

const numbers = Array.from({ length: 100 }, (_, n) => n);
const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

describe('the memory broker', () => {
  it('given no faults, then everything arrives once and in order', async () => {
    expect(await run('a', NO_FAULTS)).toEqual({ down: numbers, up: numbers });
  });

  it('given loss, then some arrive, in order; given the same seed, the same ones', async () => {
    const first = await run('a', { ...NO_FAULTS, lose: 0.3 });
    expect(first.down.length).toBeGreaterThan(40);
    expect(first.down.length).toBeLessThan(95);
    expect(first.down).toEqual(sorted(first.down));
    expect(await run('a', { ...NO_FAULTS, lose: 0.3 })).toEqual(first);
    expect(await run('b', { ...NO_FAULTS, lose: 0.3 })).not.toEqual(first);
  });

  it('given duplication, then all arrive and some twice', async () => {
    const { up } = await run('a', { ...NO_FAULTS, duplicate: 0.3 });
    expect(new Set(up).size).toBe(100);
    expect(up.length).toBeGreaterThan(105);
  });

  it('given delay, then all arrive when the clock says so, in another order', async () => {
    const { down, up } = await run('a', { ...NO_FAULTS, maxDelayMs: 5000 });
    expect(sorted(down)).toEqual(numbers);
    expect(sorted(up)).toEqual(numbers);
    expect(down).not.toEqual(numbers);
  });

  it('given a payload that its sender changes later, then what was sent arrives', async () => {
    const broker = createMemoryBroker({ realm, clock: new ManualClock(new Date(0)), random: seededRandom('a') });
    const device = broker.connect(id);
    const got: Uint8Array[] = [];
    device.onMessage((_topic, payload) => got.push(payload));
    device.subscribe(updateTopic(realm, id));
    const payload = Uint8Array.of(1);
    await broker.publish(updateTopic(realm, id), payload);
    payload.fill(0);
    await Promise.resolve();
    expect(got).toEqual([Uint8Array.of(1)]);
  });
});
