/** Named alarms on the injected clock; setting one again replaces it. */
import type { Clock } from '#schema/runtime/clock.ts';

export class Deadlines<Name extends string> {
  private readonly clock: Clock;
  private readonly pending = new Map<Name, () => void>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  set(name: Name, afterMs: number, call: () => void): void {
    this.clear(name);
    const cancel = this.clock.after(Math.max(0, afterMs), () => {
      this.pending.delete(name);
      call();
    });
    this.pending.set(name, cancel);
  }

  isSet(name: Name): boolean {
    return this.pending.has(name);
  }

  clear(name: Name): void {
    this.pending.get(name)?.();
    this.pending.delete(name);
  }

  clearAll(): void {
    for (const cancel of this.pending.values()) cancel();
    this.pending.clear();
  }
}
