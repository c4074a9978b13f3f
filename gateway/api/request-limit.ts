/** How many requests one address may make: a token bucket for each, the longest unused forgotten first. */
import { TokenBucket, type RateLimit } from '../broker/rate-limit.ts';

const MAXIMUM_ADDRESSES = 10_000;

export interface RequestLimit {
  /** Takes one request; false when the address has to wait. `now` is milliseconds of a clock that never steps. */
  take(address: string, now: number): boolean;
}

export function createRequestLimit(limit: RateLimit, maximum: number = MAXIMUM_ADDRESSES): RequestLimit {
  const buckets = new Map<string, TokenBucket>();
  return {
    take(address, now) {
      const bucket = buckets.get(address) ?? new TokenBucket(limit, now);
      // Set anew, so that the order of the map is the order of the last request.
      buckets.delete(address);
      buckets.set(address, bucket);
      if (buckets.size > maximum) {
        const [oldest] = buckets.keys();
        if (oldest !== undefined) buckets.delete(oldest);
      }
      return bucket.take(now);
    },
  };
}
