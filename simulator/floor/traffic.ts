/** Counts what goes over the network of each device, whatever becomes of it. */
import type { TransportFactory } from '#agent/agent.ts';
import type { DeviceId } from '#schema/ids.ts';

export interface Traffic {
  /** Messages that the device has sent. */
  readonly sent: number;
  /** Messages that have reached it, retained ones included. */
  readonly received: number;
}

const NOTHING: Traffic = { sent: 0, received: 0 };

export class TrafficCounter {
  private readonly devices = new Map<DeviceId, { sent: number; received: number }>();

  of(id: DeviceId): Traffic {
    return this.devices.get(id) ?? NOTHING;
  }

  readonly wrap =
    (next: TransportFactory): TransportFactory =>
    async (request) => {
      const counts = this.countsOf(request.clientId);
      const transport = await next({
        ...request,
        onMessage: (topic, payload) => {
          counts.received += 1;
          request.onMessage(topic, payload);
        },
      });
      return {
        ...transport,
        publish: (topic, payload) => {
          counts.sent += 1;
          return transport.publish(topic, payload);
        },
      };
    };

  private countsOf(id: DeviceId): { sent: number; received: number } {
    const counts = this.devices.get(id) ?? { sent: 0, received: 0 };
    this.devices.set(id, counts);
    return counts;
  }
}
