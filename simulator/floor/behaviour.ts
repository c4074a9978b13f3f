/**
 * How a device misbehaves, as data: small pieces, any number of them on one device. `equipment.ts` makes them real
 * while a device is on, `Floor.play` plays those that are about being on and off.
 */
export type Behaviour =
  /** The clock of the device shows this when it is switched on, and runs on from there. */
  | { readonly kind: 'dead-clock'; readonly shows: Date }
  /** Every message reaches the device this much later. */
  | { readonly kind: 'slow'; readonly delayMs: number }
  /** Every report is sent twice. */
  | { readonly kind: 'duplicate' }
  /** The first updates arrive altered, so that the device refuses them. */
  | { readonly kind: 'refuse'; readonly updates: number }
  /** An application says that it is busy when a key is to be activated, for this long from the first time it is asked. */
  | { readonly kind: 'busy'; readonly forMs: number }
  /** Loses its power so many times, this long after it was connected, and comes back over the same state. */
  | { readonly kind: 'restart'; readonly times: number; readonly afterMs: number }
  /** Is switched off after a while, and on again. */
  | { readonly kind: 'offline'; readonly afterMs: number; readonly forMs: number };

export type BehaviourKind = Behaviour['kind'];

export const BEHAVIOUR_KINDS: readonly BehaviourKind[] = [
  'offline',
  'restart',
  'slow',
  'dead-clock',
  'duplicate',
  'refuse',
  'busy',
];

/** Where dead clocks stand: epoch of Unix, epoch of many real-time clocks, far in the future. */
const DEAD_CLOCKS: readonly ((now: Date) => Date)[] = [
  () => new Date('1970-01-01T00:00:00Z'),
  () => new Date('2000-01-01T00:00:00Z'),
  (now) => new Date(Date.UTC(now.getUTCFullYear() + 10, now.getUTCMonth(), now.getUTCDate())),
];

const between = (least: number, most: number, fraction: number): number =>
  Math.round(least + (most - least) * fraction);

/** A behaviour of this kind with ordinary values; `fraction` in [0, 1) chooses among them. */
export function ordinaryBehaviour(kind: BehaviourKind, fraction: number, now: Date): Behaviour {
  switch (kind) {
    case 'dead-clock': {
      const shows = DEAD_CLOCKS[Math.floor(fraction * DEAD_CLOCKS.length)] ?? (() => new Date(0));
      return { kind, shows: shows(now) };
    }
    case 'slow':
      return { kind, delayMs: between(500, 3_000, fraction) };
    case 'duplicate':
      return { kind };
    case 'refuse':
      return { kind, updates: 1 };
    case 'busy':
      return { kind, forMs: between(5_000, 15_000, fraction) };
    case 'restart':
      return { kind, times: between(1, 3, fraction), afterMs: between(200, 3_000, fraction) };
    case 'offline':
      return { kind, afterMs: between(500, 3_000, fraction), forMs: between(3_000, 10_000, fraction) };
  }
}
