import { describe, expect, test } from 'vitest';
import { ManualClock } from '#schema/runtime/clock.ts';
import { DeviceId, KeySetName } from '#schema/ids.ts';
import type { Transport, TransportFactory, TransportRequest } from '#agent/agent.ts';
import { busyApplication, corruptUpdates, deadClock, equip, jitterOf, wearOf } from '#simulator/floor/equipment.ts';
import type { Behaviour } from '#simulator/floor/behaviour.ts';

const NOW = new Date('2026-11-21T12:00:00Z');

/** A network that hands over what the test sends, and keeps what the device sends. */
class Wire {
  readonly published: string[] = [];
  readonly received: (readonly [string, number[]])[] = [];
  private request: TransportRequest | undefined;

  readonly factory: TransportFactory = async (request) => {
    this.request = request;
    const transport: Transport = {
      publish: async (topic) => void this.published.push(topic),
      close: async () => undefined,
      destroy: () => undefined,
    };
    return transport;
  };

  async connect(behaviours: readonly Behaviour[], clock: ManualClock): Promise<Transport> {
    const { transport } = equip('EGM-1', behaviours, wearOf(behaviours, clock), {
      clock,
      seed: 's',
      transport: this.factory,
    });
    return this.through(transport);
  }

  through(transport: TransportFactory): Promise<Transport> {
    return transport({
      url: 'mqtts://localhost:1',
      clientId: DeviceId.parse('EGM-1'),
      identity: { certificate: new Uint8Array(), chain: [], privateKey: '' },
      trust: { anchors: [], time: { now: NOW, trusted: false, floor: NOW } },
      subscriptions: [],
      will: { topic: 'status', payload: '' },
      keepaliveSeconds: 60,
      timeoutMs: 1_000,
      onMessage: (topic, payload) => this.received.push([topic, [...payload]]),
      onClose: () => undefined,
    });
  }

  deliver(topic: string, ...octets: number[]): void {
    this.request?.onMessage(topic, Uint8Array.from(octets));
  }
}

describe('given a device without troubles', () => {
  test('when messages come and go, then they pass unchanged', async () => {
    const wire = new Wire();
    const transport = await wire.connect([], new ManualClock(NOW));
    wire.deliver('r/update', 1, 2);
    await transport.publish('r/report', Uint8Array.of(1));
    expect(wire.received).toEqual([['r/update', [1, 2]]]);
    expect(wire.published).toEqual(['r/report']);
  });
});

describe('given a slow device', () => {
  test('when messages come, then it sees them late and in order', async () => {
    const [wire, clock] = [new Wire(), new ManualClock(NOW)];
    await wire.connect([{ kind: 'slow', delayMs: 500 }], clock);
    wire.deliver('r/trust', 1);
    wire.deliver('r/update', 2);
    clock.advance(499);
    expect(wire.received).toEqual([]);
    clock.advance(1);
    expect(wire.received).toEqual([
      ['r/trust', [1]],
      ['r/update', [2]],
    ]);
  });
});

describe('given a device that repeats itself', () => {
  test('when it publishes a report, then the report is sent twice', async () => {
    const wire = new Wire();
    const transport = await wire.connect([{ kind: 'duplicate' }], new ManualClock(NOW));
    await transport.publish('r/report', Uint8Array.of(1));
    expect(wire.published).toEqual(['r/report', 'r/report']);
  });
});

describe('given a device whose first updates arrive altered', () => {
  test('when updates and trust links come, then so many updates are altered and nothing else', async () => {
    const wire = new Wire();
    await wire.through(corruptUpdates({ updates: 1 })(wire.factory));
    wire.deliver('r/trust', 1, 2);
    wire.deliver('r/update', 1, 2);
    wire.deliver('r/update', 1, 2);
    expect(wire.received).toEqual([
      ['r/trust', [1, 2]],
      ['r/update', [1, 2 ^ 0xff]],
      ['r/update', [1, 2]],
    ]);
  });

  test('when it is restarted, then the updates that it has seen altered stay counted', async () => {
    const clock = new ManualClock(NOW);
    const behaviours: readonly Behaviour[] = [{ kind: 'refuse', updates: 1 }];
    const wear = wearOf(behaviours, clock);
    const wire = new Wire();
    for (let start = 0; start < 2; start += 1) {
      await wire.through(equip('EGM-1', behaviours, wear, { clock, seed: 's', transport: wire.factory }).transport);
      wire.deliver('r/update', 0);
    }
    expect(wire.received.map(([, octets]) => octets)).toEqual([[0xff], [0]]);
  });
});

describe('given several troubles at once', () => {
  test('when messages come and go, then all of them show', async () => {
    const [wire, clock] = [new Wire(), new ManualClock(NOW)];
    const transport = await wire.connect(
      [{ kind: 'slow', delayMs: 100 }, { kind: 'duplicate' }, { kind: 'refuse', updates: 1 }],
      clock,
    );
    await transport.publish('r/report', Uint8Array.of(1));
    wire.deliver('r/update', 0);
    expect(wire.received).toEqual([]);
    clock.advance(100);
    expect(wire.received).toEqual([['r/update', [0xff]]]);
    expect(wire.published).toHaveLength(2);
  });
});

describe('given a dead clock', () => {
  test('when time passes, then it goes on from where it stood, and intervals are right', () => {
    const base = new ManualClock(NOW);
    base.advance(5_000);
    const clock = deadClock(base, new Date(0));
    let rang = false;
    clock.after(1_000, () => (rang = true));
    base.advance(1_000);
    expect(clock.now()).toEqual(new Date(1_000));
    expect(clock.monotonic()).toBe(base.monotonic());
    expect(rang).toBe(true);
  });
});

describe('given a busy application', () => {
  test('when it is asked, then it is busy from the first time on, for a while', () => {
    const clock = new ManualClock(NOW);
    const busy = busyApplication(clock, 1_000);
    const keySet = KeySetName.parse('wallet-kek');
    clock.advance(10_000);
    expect(busy.busyUntil(keySet, clock.now())).toEqual(new Date(NOW.getTime() + 11_000));
    clock.advance(400);
    expect(busy.busyUntil(keySet, clock.now())).toEqual(new Date(NOW.getTime() + 11_000));
    clock.advance(600);
    expect(busy.busyUntil(keySet, clock.now())).toBeUndefined();
  });
});

describe('given the jitter of a device', () => {
  test('when the same seed is used again, then jitter repeats and nonces do not', () => {
    const [a, b, other] = [jitterOf('s', 'EGM-1'), jitterOf('s', 'EGM-1'), jitterOf('s', 'EGM-2')];
    const three = (random: typeof a): number[] => [random.fraction(), random.fraction(), random.fraction()];
    const drawn = three(a);
    expect(three(b)).toEqual(drawn);
    expect(three(other)).not.toEqual(drawn);
    expect(new Set(drawn).size).toBe(3);
    expect(a.bytes(16)).not.toEqual(b.bytes(16));
    expect(a.uuid()).not.toBe(b.uuid());
  });
});
