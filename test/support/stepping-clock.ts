/** The real clock with a wall that can be stepped, as a wrong time server does it; intervals and timers stay right. */
import { systemClock, type Clock } from '#schema/runtime/clock.ts';

export class SteppingClock implements Clock {
  private offsetMs = 0;

  now(): Date {
    return new Date(Date.now() + this.offsetMs);
  }

  monotonic(): number {
    return systemClock.monotonic();
  }

  after(ms: number, call: () => void): () => void {
    return systemClock.after(ms, call);
  }

  /** Forward, or back when negative. */
  step(ms: number): void {
    this.offsetMs += ms;
  }
}
