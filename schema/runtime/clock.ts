/** Time comes in through this port, so that every decision can be tested under a clock of its own. */
export interface Clock {
  /** Wall-clock time. May step; decisions that must not go back keep their own floor. */
  now(): Date;
  /** Milliseconds of a clock that never steps, for intervals. */
  monotonic(): number;
  /** Calls back once after `ms`; returns what cancels it. Does not keep the process alive. */
  after(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonic: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, Math.min(ms, 0x7fffffff));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** A clock that moves only when told: the working fake behind tests and the model. */
export class ManualClock implements Clock {
  private wall: number;
  private elapsed = 0;
  private waiting: { at: number; order: number; call: () => void }[] = [];
  private order = 0;

  constructor(start: Date) {
    this.wall = start.getTime();
  }

  now(): Date {
    return new Date(this.wall);
  }

  monotonic(): number {
    return this.elapsed;
  }

  after(ms: number, call: () => void): () => void {
    const item = { at: this.elapsed + Math.max(0, ms), order: (this.order += 1), call };
    this.waiting.push(item);
    return () => {
      this.waiting = this.waiting.filter((other) => other !== item);
    };
  }

  /** Moves both clocks on and runs what falls due on the way, in order. */
  advance(ms: number): void {
    const target = this.elapsed + ms;
    for (;;) {
      const due = this.waiting.filter((item) => item.at <= target).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      this.waiting = this.waiting.filter((item) => item !== due);
      this.wall += due.at - this.elapsed;
      this.elapsed = due.at;
      due.call();
    }
    this.wall += target - this.elapsed;
    this.elapsed = target;
  }

  /** Steps the wall clock alone, as a wrong NTP answer or a dead battery does. */
  step(to: Date): void {
    this.wall = to.getTime();
  }
}
