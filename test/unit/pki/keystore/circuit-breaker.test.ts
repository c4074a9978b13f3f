import { describe, expect, it } from 'vitest';
import {
  CLOSED,
  afterFailure,
  afterSuccess,
  beginProbe,
  refusal,
  type BreakerState,
} from '#pki/keystore/pkcs11/circuit-breaker.ts';

const policy = { threshold: 3, initialBackoffMs: 1_000, maximumBackoffMs: 4_000 };

function fail(breaker: BreakerState, times: number, now: number): BreakerState {
  let state = breaker;
  for (let i = 0; i < times; i += 1) state = afterFailure(state, 'unplugged', now, policy);
  return state;
}

describe('circuit breaker', () => {
  it('given fewer consecutive failures than the threshold, then calls are let through', () => {
    expect(refusal(fail(CLOSED, 2, 0), 0)).toBeUndefined();
  });

  it('given the threshold of consecutive failures, then calls are refused until the probe is due', () => {
    const open = fail(CLOSED, 3, 10_000);

    expect(open).toEqual({ state: 'open', since: 10_000, reason: 'unplugged', backoffMs: 1_000, probeAt: 11_000 });
    expect(refusal(open, 10_000)).toBe(1);
  });

  it('given a success between failures, then they are not consecutive', () => {
    expect(fail(afterSuccess(fail(CLOSED, 2, 0)), 2, 0).state).toBe('closed');
  });

  it('given failing probes, then the pauses double up to the maximum and the outage keeps its beginning', () => {
    let state = fail(CLOSED, 3, 0);
    const pauses: number[] = [];
    for (let probe = 0; probe < 4; probe += 1) {
      const due = state.state === 'closed' ? 0 : state.probeAt;
      state = afterFailure(beginProbe(state), 'still unplugged', due, policy);
      pauses.push(state.state === 'open' ? state.backoffMs : 0);
    }

    expect(pauses).toEqual([2_000, 4_000, 4_000, 4_000]);
    expect(state).toMatchObject({ state: 'open', since: 0, reason: 'still unplugged' });
  });

  it('given a probe under way, then calls are still refused; when it succeeds, they are let through', () => {
    const probing = beginProbe(fail(CLOSED, 3, 0));

    expect(refusal(probing, 5_000)).toBe(1);
    expect(afterSuccess(probing)).toBe(CLOSED);
  });

  it('given an open breaker, when operations that began before end, then they change nothing', () => {
    const open = fail(CLOSED, 3, 0);

    expect(afterSuccess(open)).toBe(open);
    expect(afterFailure(open, 'late', 500, policy)).toBe(open);
  });

  it('given a long pause, then callers are told to return in whole seconds, rounded up', () => {
    const open = fail(CLOSED, 3, 0);

    expect(
      refusal(
        beginProbe(open).state === 'half-open'
          ? { state: 'open', since: 0, reason: '', backoffMs: 4_000, probeAt: 3_001 }
          : open,
        0,
      ),
    ).toBe(4);
  });
});
