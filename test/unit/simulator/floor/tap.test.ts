import { describe, expect, test } from 'vitest';
import type { Transport, TransportFactory, TransportRequest } from '#agent/agent.ts';
import { DeviceId } from '#schema/ids.ts';
import { NetworkTap, NetworkTaps } from '#simulator/floor/tap.ts';
import { TrafficCounter } from '#simulator/floor/traffic.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const NOW = new Date(0);
const DEVICE = DeviceId.parse('EGM-000001');
const UPDATE = 'croupier/test/EGM-000001/update';
const REPORT = 'croupier/test/EGM-000001/report';

/** A network that ends here. */
class Wire {
  readonly published: number[][] = [];
  readonly received: number[][] = [];
  private request: TransportRequest | undefined;

  readonly factory: TransportFactory = async (request) => {
    this.request = request;
    const transport: Transport = {
      publish: async (_, payload) => void this.published.push([...payload]),
      close: async () => undefined,
      destroy: () => undefined,
    };
    return transport;
  };

  connect(wrap: (next: TransportFactory) => TransportFactory): Promise<Transport> {
    return wrap(this.factory)({
      url: 'mqtts://localhost:1',
      clientId: DEVICE,
      identity: { certificate: new Uint8Array(), chain: [], privateKey: '' },
      trust: { anchors: [], time: { now: NOW, trusted: false, floor: NOW } },
      subscriptions: [],
      will: { topic: 'status', payload: '' },
      keepaliveSeconds: 60,
      timeoutMs: 1_000,
      onMessage: (_, payload) => this.received.push([...payload]),
      onClose: () => undefined,
    });
  }

  send(topic: string, ...octets: readonly number[]): void {
    this.request?.onMessage(topic, Uint8Array.from(octets));
  }

  close(): void {
    this.request?.onClose(undefined);
  }
}

describe('a tap', () => {
  test('given messages both ways, then they go through and are remembered', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    const transport = await wire.connect(tap.wrap);
    wire.send(UPDATE, 1, 2);
    wire.send('croupier/test/trust', 3);
    await transport.publish(REPORT, Uint8Array.of(4));
    expect(wire.received).toEqual([[1, 2], [3]]);
    expect(wire.published).toEqual([[4]]);
    expect(tap.updates.map(({ payload }) => [...payload])).toEqual([[1, 2]]);
    expect(tap.sent.map(({ payload }) => [...payload])).toEqual([[4]]);
  });

  test('given a message that is to be lost, then it is sent, never arrives, and is never acknowledged', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    const transport = await wire.connect(tap.wrap);
    tap.onSending(({ payload }) => (payload[0] === 1 ? 'lost' : 'passes'));
    const lost = transport.publish(REPORT, Uint8Array.of(1)).then(() => 'acknowledged');
    await transport.publish(REPORT, Uint8Array.of(2));
    expect(wire.published).toEqual([[2]]);
    expect(await Promise.race([lost, Promise.resolve('still waiting')])).toBe('still waiting');
    expect(tap.sent).toHaveLength(2);
  });

  test('given messages that are altered on the way, then the device gets the others, and the tap knows the true ones', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    await wire.connect(tap.wrap);
    tap.onReceiving(() => Uint8Array.of(9));
    wire.send(UPDATE, 1);
    tap.onReceiving(({ payload }) => payload);
    wire.send(UPDATE, 2);
    expect(wire.received).toEqual([[9], [2]]);
    expect(tap.updates.map(({ payload }) => [...payload])).toEqual([[1], [2]]);
  });

  test('given a message that is put in, then the device gets it while it is connected, and not after', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    const message = { topic: UPDATE, payload: Uint8Array.of(7) };
    expect(tap.inject(message)).toBe(false);
    await wire.connect(tap.wrap);
    expect(tap.inject(message)).toBe(true);
    wire.close();
    expect(tap.inject(message)).toBe(false);
    expect(wire.received).toEqual([[7]]);
  });

  test('given a cable that is out, then nothing connects until it is back', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    tap.cut(true);
    await expectRefusal('network.unreachable', () => wire.connect(tap.wrap));
    tap.cut(false);
    await wire.connect(tap.wrap);
  });

  test('given a cable that is pulled out while connected, then nothing arrives or leaves, and what did not arrive is not remembered', async () => {
    const [wire, tap] = [new Wire(), new NetworkTap()];
    const transport = await wire.connect(tap.wrap);
    tap.cut(true);
    wire.send(UPDATE, 1);
    void transport.publish(REPORT, Uint8Array.of(2));
    expect(wire.received).toEqual([]);
    expect(wire.published).toEqual([]);
    expect(tap.updates).toEqual([]);
    tap.cut(false);
    wire.send(UPDATE, 3);
    expect(wire.received).toEqual([[3]]);
  });

  test('given taps of several devices, then each device keeps its own', () => {
    const taps = new NetworkTaps();
    expect(taps.of(DEVICE)).toBe(taps.of(DEVICE));
    expect(taps.of(DeviceId.parse('EGM-000002'))).not.toBe(taps.of(DEVICE));
    expect(taps.equipment({ id: DEVICE }).network).toBe(taps.of(DEVICE).wrap);
  });
});

test('given a counter of traffic, then every message of a device counts, over all its connections', async () => {
  const [wire, counter] = [new Wire(), new TrafficCounter()];
  expect(counter.of(DEVICE)).toEqual({ sent: 0, received: 0 });
  for (let connection = 0; connection < 2; connection += 1) {
    const transport = await wire.connect(counter.wrap);
    wire.send(UPDATE, 1);
    wire.send('croupier/test/trust', 1);
    await transport.publish(REPORT, Uint8Array.of(1));
  }
  expect(counter.of(DEVICE)).toEqual({ sent: 2, received: 4 });
});
