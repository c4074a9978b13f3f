/**
 * The decisions of a circuit breaker, pure: after `threshold` consecutive failures it opens, then nothing is asked of
 * the HSM but one probe at a time, with doubling pauses, until a probe succeeds.
 */

export interface BreakerPolicy {
  /** Consecutive failures that open the breaker. */
  readonly threshold: number;
  readonly initialBackoffMs: number;
  readonly maximumBackoffMs: number;
}

/** Times are milliseconds since the epoch. */
export type BreakerState =
  | { readonly state: 'closed'; readonly failures: number }
  | Outage<'open'>
  | Outage<'half-open'>;

interface Outage<S extends string> {
  readonly state: S;
  readonly since: number;
  readonly reason: string;
  /** When the next probe is due; in half-open, when this one was. */
  readonly probeAt: number;
  readonly backoffMs: number;
}

export const CLOSED: BreakerState = { state: 'closed', failures: 0 };

/** The state after an operation succeeded while closed, or the probe while half-open. */
export function afterSuccess(breaker: BreakerState): BreakerState {
  return breaker.state === 'open' ? breaker : CLOSED;
}

/** The state after an operation failed while closed, or the probe while half-open, for want of the HSM. */
export function afterFailure(breaker: BreakerState, reason: string, now: number, policy: BreakerPolicy): BreakerState {
  if (breaker.state === 'open') return breaker;
  if (breaker.state === 'half-open') {
    const backoffMs = Math.min(breaker.backoffMs * 2, policy.maximumBackoffMs);
    return { state: 'open', since: breaker.since, reason, backoffMs, probeAt: now + backoffMs };
  }
  const failures = breaker.failures + 1;
  if (failures < policy.threshold) return { state: 'closed', failures };
  const backoffMs = policy.initialBackoffMs;
  return { state: 'open', since: now, reason, backoffMs, probeAt: now + backoffMs };
}

/** The state in which the one probe runs. */
export function beginProbe(breaker: BreakerState): BreakerState {
  return breaker.state === 'open' ? { ...breaker, state: 'half-open' } : breaker;
}

/** Seconds that a caller should wait before asking again, at least 1; undefined if calls are let through. */
export function refusal(breaker: BreakerState, now: number): number | undefined {
  if (breaker.state === 'closed') return undefined;
  return Math.max(1, Math.ceil((breaker.probeAt - now) / 1000));
}
