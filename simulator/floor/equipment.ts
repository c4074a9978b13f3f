/** What a device is switched on with: its clock, its network and its applications, as its behaviours make them. */
import type { BusyOracle, TransportFactory } from '#agent/agent.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import type { Behaviour } from './behaviour.ts';
import { draw } from './draw.ts';

export interface Equipment {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: TransportFactory;
  readonly busy: BusyOracle | undefined;
}

/** Shows a wrong time from now on; intervals are right, since a crystal lives longer than a battery. */
export function deadClock(base: Clock, shows: Date): Clock {
  const start = base.monotonic();
  return {
    now: () => new Date(shows.getTime() + (base.monotonic() - start)),
    monotonic: () => base.monotonic(),
    after: (ms, call) => base.after(ms, call),
  };
}

/** Jitter comes from the seed; nonces and boot ids, which must be fresh at every start, do not. */
export function jitterOf(seed: string, id: string): Random {
  let count = 0;
  return {
    bytes: (length) => systemRandom.bytes(length),
    uuid: () => systemRandom.uuid(),
    fraction: () => draw(seed, 'jitter', id, String((count += 1))),
  };
}

export const slowMessages =
  (clock: Clock, delayMs: number) =>
  (next: TransportFactory): TransportFactory =>
  (request) =>
    next({
      ...request,
      onMessage: (topic, payload) => {
        // The payload is a view into what the socket delivered.
        const copy = new Uint8Array(payload);
        clock.after(delayMs, () => request.onMessage(topic, copy));
      },
    });

export const duplicateReports =
  () =>
  (next: TransportFactory): TransportFactory =>
  async (request) => {
    const transport = await next(request);
    return {
      ...transport,
      publish: async (topic, payload) => {
        await Promise.all([transport.publish(topic, payload), transport.publish(topic, payload)]);
      },
    };
  };

/** Alters the signature of the first updates; `remaining` is shared by the connections of one device. */
export const corruptUpdates =
  (remaining: { updates: number }) =>
  (next: TransportFactory): TransportFactory =>
  (request) =>
    next({
      ...request,
      onMessage: (topic, payload) => {
        if (remaining.updates === 0 || !topic.endsWith('/update')) return request.onMessage(topic, payload);
        remaining.updates -= 1;
        const altered = new Uint8Array(payload);
        const last = altered.length - 1;
        altered[last] = (altered[last] ?? 0) ^ 0xff;
        request.onMessage(topic, altered);
      },
    });

/** Busy for a while from the first time that it is asked. */
export function busyApplication(clock: Clock, forMs: number): BusyOracle {
  let end: number | undefined;
  return {
    busyUntil: (_, now) => {
      end ??= clock.monotonic() + forMs;
      const left = end - clock.monotonic();
      return left > 0 ? new Date(now.getTime() + left) : undefined;
    },
  };
}

/** What lasts over restarts of a device: the updates that will still be altered, the application that is busy. */
export interface Wear {
  readonly wrap: (next: TransportFactory) => TransportFactory;
  readonly busy: BusyOracle | undefined;
}

export function wearOf(behaviours: readonly Behaviour[], clock: Clock): Wear {
  const wraps: ((next: TransportFactory) => TransportFactory)[] = [];
  let busy: BusyOracle | undefined;
  for (const behaviour of behaviours) {
    if (behaviour.kind === 'slow') wraps.push(slowMessages(clock, behaviour.delayMs));
    else if (behaviour.kind === 'duplicate') wraps.push(duplicateReports());
    else if (behaviour.kind === 'refuse') wraps.push(corruptUpdates({ updates: behaviour.updates }));
    else if (behaviour.kind === 'busy') busy = busyApplication(clock, behaviour.forMs);
  }
  return { wrap: (next) => wraps.reduce((inner, wrap) => wrap(inner), next), busy };
}

/** The equipment of one switching on. */
export function equip(
  id: string,
  behaviours: readonly Behaviour[],
  wear: Wear,
  base: { readonly clock: Clock; readonly seed: string; readonly transport: TransportFactory },
): Equipment {
  const dead = behaviours.find((behaviour) => behaviour.kind === 'dead-clock');
  return {
    clock: dead === undefined ? base.clock : deadClock(base.clock, dead.shows),
    random: jitterOf(base.seed, id),
    transport: wear.wrap(base.transport),
    busy: wear.busy,
  };
}
