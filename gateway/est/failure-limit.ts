/**
 * How many failures one address may have: a token bucket for each, filled at the rate of the configuration. A failure
 * takes a token; an address without tokens is asked to wait before anything is parsed or verified for it.
 */

export interface FailureLimit {
  /** Undefined when the address may ask; else the seconds until it may. Costs nothing. */
  wait(address: string, now: number): number | undefined;
  failed(address: string, now: number): void;
  /** Addresses remembered. */
  readonly size: number;
}

interface Bucket {
  readonly tokens: number;
  readonly at: number;
}

/** Addresses beyond this are forgotten, the longest untouched first. */
const MAXIMUM_ADDRESSES = 20_000;

/** Everybody in one IPv6 /64 is one; an IPv4 address stands for itself. */
export function addressGroup(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = (address.split('%', 1)[0] ?? '').split('::', 2);
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const rest = tail === '' ? [] : tail.split(':');
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/** `now` is milliseconds of a clock that never steps. */
export function createFailureLimit(failuresPerMinute: number, maximum: number = MAXIMUM_ADDRESSES): FailureLimit {
  const perMs = failuresPerMinute / 60_000;
  const buckets = new Map<string, Bucket>();
  const tokensOf = (key: string, now: number): number => {
    const bucket = buckets.get(key);
    if (bucket === undefined) return failuresPerMinute;
    return Math.min(failuresPerMinute, bucket.tokens + Math.max(0, now - bucket.at) * perMs);
  };
  return {
    wait(address, now) {
      const tokens = tokensOf(addressGroup(address), now);
      return tokens >= 1 ? undefined : Math.ceil((1 - tokens) / perMs / 1000);
    },
    failed(address, now) {
      const key = addressGroup(address);
      const tokens = Math.max(0, tokensOf(key, now) - 1);
      // Set anew, so that the order of the map is the order of the last failure.
      buckets.delete(key);
      buckets.set(key, { tokens, at: now });
      if (buckets.size <= maximum) return;
      const [oldest] = buckets.keys();
      if (oldest !== undefined) buckets.delete(oldest);
    },
    get size() {
      return buckets.size;
    },
  };
}
