/** A token bucket for each address. */
import { describe, expect, test } from 'vitest';
import { addressGroup, createFailureLimit } from '#gateway/est/failure-limit.ts';

describe('failure limit', () => {
  test('given three a minute, when used up, then one comes back every twenty seconds', () => {
    const limit = createFailureLimit(3);
    for (const at of [0, 10, 20]) {
      expect(limit.wait('192.0.2.1', at)).toBeUndefined();
      limit.failed('192.0.2.1', at);
    }
    expect(limit.wait('192.0.2.1', 30)).toBe(20);
    expect(limit.wait('192.0.2.1', 19_000)).toBe(1);
    expect(limit.wait('192.0.2.1', 20_000)).toBeUndefined();
    limit.failed('192.0.2.1', 20_000);
    expect(limit.wait('192.0.2.1', 20_000)).toBe(20);
  });

  test('given one address that fails, when another asks, then it may; within one IPv6 /64 it may not', () => {
    const limit = createFailureLimit(1);
    limit.failed('192.0.2.1', 0);
    limit.failed('2001:db8:1:2::1', 0);
    expect(limit.wait('192.0.2.2', 0)).toBeUndefined();
    expect(limit.wait('2001:db8:1:2:ffff::9', 0)).toBe(60);
    expect(limit.wait('2001:db8:1:3::1', 0)).toBeUndefined();
  });

  test('given failures while there is nothing left, when it waits, then the wait does not grow', () => {
    const limit = createFailureLimit(1);
    for (let count = 0; count < 10; count += 1) limit.failed('192.0.2.1', 0);
    expect(limit.wait('192.0.2.1', 60_000)).toBeUndefined();
  });

  test('given more addresses than it remembers, when one fails, then the longest untouched is forgotten', () => {
    const limit = createFailureLimit(1, 2);
    for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.3']) limit.failed(address, 0);
    expect(limit.size).toBe(2);
    expect(limit.wait('192.0.2.1', 0)).toBe(60);
    expect(limit.wait('192.0.2.2', 0)).toBeUndefined();
  });

  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ])('given %s, when grouped, then it is %s', (address, group) => {
    expect(addressGroup(address)).toBe(group);
  });
});
