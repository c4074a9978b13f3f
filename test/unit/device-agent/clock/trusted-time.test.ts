import { describe, expect, test } from 'vitest';
import { TrustedTime } from '#agent/clock/trusted-time.ts';
import { ManualClock } from '#schema/runtime/clock.ts';

const NOON = new Date('2026-06-01T12:00:00.000Z');
const later = (ms: number): Date => new Date(NOON.getTime() + ms);

describe('trusted time', () => {
  test('given a dead clock, then it is the floor at least, and not trusted', () => {
    const time = new TrustedTime(new ManualClock(new Date(0)), NOON);
    expect(time.read()).toEqual({ now: NOON, trusted: false, floor: NOON });
  });

  test('given a clock that is ahead, then it estimates, but proves nothing', () => {
    const time = new TrustedTime(new ManualClock(later(5_000)), NOON);
    expect(time.read()).toEqual({ now: later(5_000), trusted: false, floor: NOON });
  });

  test('when the gateway told the time, then it runs on with the monotonic clock, whatever the wall clock does', () => {
    const clock = new ManualClock(new Date(0));
    const time = new TrustedTime(clock, NOON);
    time.learn(later(1_000));
    clock.advance(500);
    clock.step(new Date('2050-01-01T00:00:00.000Z'));
    expect(time.read()).toEqual({ now: later(1_500), trusted: true, floor: later(1_500) });
  });

  test('when a message is older than the floor, then the floor stays; a later one raises it', () => {
    const time = new TrustedTime(new ManualClock(new Date(0)), NOON);
    time.raise(later(-1));
    expect(time.read().floor).toEqual(NOON);
    time.raise(later(1));
    expect(time.read().floor).toEqual(later(1));
    time.learn(later(-1_000));
    expect(time.read().now).toEqual(later(1));
  });
});
