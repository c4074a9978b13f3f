/** A tap on the network of one device: what reaches it is remembered, and what goes over it can be stopped or put in. */
import type { TransportFactory } from '#agent/agent.ts';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';

export interface Carried {
  readonly topic: string;
  /** A copy. */
  readonly payload: Uint8Array;
}

/** What becomes of a message of the device. `lost` never reaches the broker, and is never acknowledged. */
export type Passage = 'passes' | 'lost';

const KEPT = 32;

export class NetworkTap {
  private readonly kept: Carried[] = [];
  private readonly published: Carried[] = [];
  private deliver: ((topic: string, payload: Uint8Array) => void) | undefined;
  private judge: (message: Carried) => Passage = () => 'passes';
  private alter: (message: Carried) => Uint8Array = ({ payload }) => payload;
  private isCut = false;

  /** Updates that have reached the device, the latest last. */
  get updates(): readonly Carried[] {
    return this.kept;
  }

  /** What the device has sent, lost or not, the latest last. */
  get sent(): readonly Carried[] {
    return this.published;
  }

  /** From now on every message of the device is judged before it goes out. */
  onSending(judge: (message: Carried) => Passage): void {
    this.judge = judge;
  }

  /** From now on every message to the device is what comes out of this. */
  onReceiving(alter: (message: Carried) => Uint8Array): void {
    this.alter = alter;
  }

  /** The cable is out: nothing connects, arrives or leaves until it is back. */
  cut(isCut: boolean): void {
    this.isCut = isCut;
  }

  /** As somebody who owns the broker: on the side of the device. Tells whether it is connected. */
  inject({ topic, payload }: Carried): boolean {
    this.deliver?.(topic, payload);
    return this.deliver !== undefined;
  }

  readonly wrap =
    (next: TransportFactory): TransportFactory =>
    async (request) => {
      if (this.isCut) throw new CroupierError('network.unreachable', 'the cable is out');
      const transport = await next({
        ...request,
        onMessage: (topic, payload) => {
          if (this.isCut) return;
          if (topic.endsWith('/update')) remember(this.kept, topic, payload);
          request.onMessage(topic, this.alter({ topic, payload }));
        },
        onClose: (error) => {
          this.deliver = undefined;
          request.onClose(error);
        },
      });
      this.deliver = request.onMessage;
      return {
        ...transport,
        publish: async (topic, payload) => {
          const message = remember(this.published, topic, payload);
          if (this.isCut || this.judge(message) === 'lost') return new Promise<never>(() => undefined);
          return transport.publish(topic, payload);
        },
      };
    };
}

function remember(messages: Carried[], topic: string, payload: Uint8Array): Carried {
  // The payload is a view into what the socket delivered.
  const message = { topic, payload: Uint8Array.from(payload) };
  messages.push(message);
  if (messages.length > KEPT) messages.shift();
  return message;
}

/** A tap on each of several devices, which stays over switchings off and on. */
export class NetworkTaps {
  private readonly taps = new Map<DeviceId, NetworkTap>();

  of(id: DeviceId): NetworkTap {
    const tap = this.taps.get(id) ?? new NetworkTap();
    this.taps.set(id, tap);
    return tap;
  }

  /** What devices are switched on with to have their taps. */
  readonly equipment = ({ id }: { readonly id: DeviceId }): { readonly network: NetworkTap['wrap'] } => ({
    network: this.of(id).wrap,
  });
}
