/** The real transport with a valve between the broker and the device: what comes in passes, waits, is altered (updates) or is lost. */
import { mqttTransport, type TransportFactory } from '#agent/agent.ts';

export type ValvePosition = 'open' | 'holding' | 'altering' | 'losing';

/** It stays with the device over its connections. */
export class Valve {
  private current: ValvePosition;
  private held: (() => void)[] = [];

  constructor(position: ValvePosition = 'open') {
    this.current = position;
  }

  get position(): ValvePosition {
    return this.current;
  }

  /** What was held goes on when it opens, in order. */
  turn(position: ValvePosition): void {
    this.current = position;
    if (position !== 'open') return;
    const { held } = this;
    this.held = [];
    for (const pass of held) pass();
  }

  readonly factory: TransportFactory = (request) => {
    let isGone = false;
    return mqttTransport({
      ...request,
      onMessage: (topic, payload) => {
        if (this.current === 'altering' && !topic.endsWith('/update')) return request.onMessage(topic, payload);
        // The payload is a view into what the socket delivered.
        const copy = Uint8Array.from(payload);
        const pass = (): void => {
          if (!isGone) request.onMessage(topic, copy);
        };
        switch (this.current) {
          case 'open':
            return pass();
          case 'holding':
            return void this.held.push(pass);
          case 'altering':
            copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 0xff;
            return pass();
          case 'losing':
            return undefined;
        }
      },
      onClose: (error) => {
        isGone = true;
        request.onClose(error);
      },
    });
  };
}
