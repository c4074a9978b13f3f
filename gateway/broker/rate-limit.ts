/** A token bucket: how many packets one connection may send. Time comes in, so that the rule is pure. */

export interface RateLimit {
  /** Tokens that come back per second. */
  readonly perSecond: number;
  /** Tokens of a full bucket. */
  readonly burst: number;
}

export class TokenBucket {
  private readonly limit: RateLimit;
  private tokens: number;
  private refilledAt: number;

  /** A full bucket at `now` (milliseconds of a clock that never steps). */
  constructor(limit: RateLimit, now: number) {
    this.limit = limit;
    this.tokens = limit.burst;
    this.refilledAt = now;
  }

  /** Takes one token; false when there is none, which costs nothing. */
  take(now: number): boolean {
    const elapsed = Math.max(0, now - this.refilledAt);
    this.tokens = Math.min(this.limit.burst, this.tokens + (elapsed * this.limit.perSecond) / 1000);
    this.refilledAt += elapsed;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
