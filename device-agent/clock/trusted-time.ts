/**
 * What the device may believe about the time. A device's own clock may be dead or wrong, so three things are kept apart:
 * the floor (the latest time that a verified message proves to have passed), the local clock, and the time that the
 * gateway told in answer to a nonce of ours, carried on by the monotonic clock.
 */
import type { Clock } from '#schema/runtime/clock.ts';

export interface TimeReading {
  /** Best estimate. Never before the floor. */
  readonly now: Date;
  /** Whether the gateway confirmed it since this process started. */
  readonly trusted: boolean;
  /** It is this late at least. */
  readonly floor: Date;
}

export class TrustedTime {
  private readonly clock: Clock;
  private floorMs: number;
  /** Wall-clock time at the origin of the monotonic clock, as the gateway told it. */
  private originMs: number | undefined;

  constructor(clock: Clock, floor: Date) {
    this.clock = clock;
    this.floorMs = floor.getTime();
  }

  read(): TimeReading {
    const trusted = this.originMs !== undefined;
    const estimate = this.originMs === undefined ? this.clock.now().getTime() : this.originMs + this.clock.monotonic();
    const now = Math.max(estimate, this.floorMs);
    return { now: new Date(now), trusted, floor: new Date(trusted ? now : this.floorMs) };
  }

  /** A verified message was issued at `issuedAt`, so it is later than that now. */
  raise(issuedAt: Date): void {
    this.floorMs = Math.max(this.floorMs, issuedAt.getTime());
  }

  /**
   * A verified message that answers a recent nonce of ours says that it is `time`. That it took a while to arrive makes the
   * reading late by less than the exchange took; a reading never goes back.
   */
  learn(time: Date): void {
    this.raise(time);
    this.originMs = Math.max(time.getTime(), this.floorMs) - this.clock.monotonic();
  }
}
