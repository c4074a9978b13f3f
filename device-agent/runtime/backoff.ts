/** Full-jitter exponential backoff: each wait is uniform between nothing and a bound that doubles. */
import type { Random } from '#schema/runtime/random.ts';

export class Backoff {
  private readonly minimumMs: number;
  private readonly maximumMs: number;
  private readonly random: Random;
  private failures = 0;

  constructor(minimumMs: number, maximumMs: number, random: Random) {
    this.minimumMs = minimumMs;
    this.maximumMs = maximumMs;
    this.random = random;
  }

  /** The wait before the next attempt; at least `atLeastMs`, where the other side asked for it. */
  next(atLeastMs = 0): number {
    const bound = Math.min(this.maximumMs, this.minimumMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    const jittered = Math.ceil(this.random.fraction() * bound);
    // What many were told alike is spread too.
    return atLeastMs > 0 ? Math.ceil(atLeastMs * (1 + this.random.fraction() / 10)) : jittered;
  }

  reset(): void {
    this.failures = 0;
  }
}
