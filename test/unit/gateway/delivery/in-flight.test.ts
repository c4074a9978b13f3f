import { describe, expect, test } from 'vitest';
import { InFlight } from '#gateway/delivery/in-flight.ts';
import { deviceId } from '#test/support/store-fixtures.ts';

const LIMIT = 2;
const PATIENCE_MS = 1_000;

function setUp() {
  let now = 0;
  const inFlight = new InFlight({ monotonic: () => now }, LIMIT, PATIENCE_MS);
  const [one, two] = [deviceId('egm-1'), deviceId('egm-2')];
  return { inFlight, one, two, pass: (ms: number) => (now += ms) };
}

describe('updates in flight', () => {
  test('given as many as the limit, then there is no room; when one is answered, then there is', () => {
    const { inFlight, one, two } = setUp();
    inFlight.sent(one);
    expect(inFlight.hasRoom()).toBe(true);
    inFlight.sent(two);
    expect(inFlight.hasRoom()).toBe(false);
    inFlight.answered(one);
    expect(inFlight.hasRoom()).toBe(true);
  });

  test('given a device that is asked again, then it counts once', () => {
    const { inFlight, one } = setUp();
    inFlight.sent(one);
    inFlight.sent(one);
    expect(inFlight.hasRoom()).toBe(true);
  });

  test('given devices that stay silent, then they take nobody’s place for longer than the patience; asked again, they do anew', () => {
    const { inFlight, one, two, pass } = setUp();
    inFlight.sent(one);
    inFlight.sent(two);
    pass(PATIENCE_MS - 1);
    expect(inFlight.hasRoom()).toBe(false);
    inFlight.sent(one);
    pass(1);
    expect(inFlight.hasRoom()).toBe(true);
    inFlight.sent(two);
    expect(inFlight.hasRoom()).toBe(false);
  });
});
