/** The real transport with a tap: what went through is kept, and somebody who owns the broker can put in what he likes. */
import { mqttTransport, type Transport, type TransportFactory } from '#agent/agent.ts';

export interface Carried {
  readonly topic: string;
  readonly payload: Uint8Array;
}

export class TappedTransport {
  /** What reached the device. */
  readonly received: Carried[] = [];
  /** What the device sent. */
  readonly sent: Carried[] = [];
  private deliver: ((topic: string, payload: Uint8Array) => void) | undefined;
  private transport: Transport | undefined;

  readonly factory: TransportFactory = async (request) => {
    this.deliver = request.onMessage;
    const onMessage = (topic: string, payload: Uint8Array): void => {
      this.received.push({ topic, payload: Uint8Array.from(payload) });
      request.onMessage(topic, payload);
    };
    const transport = await mqttTransport({ ...request, onMessage });
    this.transport = transport;
    return {
      publish: (topic, payload) => {
        this.sent.push({ topic, payload: Uint8Array.from(payload) });
        return transport.publish(topic, payload);
      },
      close: () => transport.close(),
      destroy: () => transport.destroy(),
    };
  };

  /** As the broker would: on the device's side of the connection. */
  inject(topic: string, payload: Uint8Array): void {
    if (this.deliver === undefined) throw new Error('the device has not connected yet');
    this.deliver(topic, payload);
  }

  /** As the device would: on its own connection. */
  async publish(topic: string, payload: Uint8Array): Promise<void> {
    if (this.transport === undefined) throw new Error('the device has not connected yet');
    await this.transport.publish(topic, payload);
  }

  of(kind: 'update' | 'trust'): Carried[] {
    return this.received.filter(({ topic }) => topic.endsWith(`/${kind}`));
  }
}
