/** What one address, and all together, may cost the operator API. */
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from '../public/listener.ts';

export interface ApiLimits extends HttpLimits {
  /** Requests of one address: at once, and over time. */
  readonly requestBurst: number;
  readonly requestsPerSecond: number;
  /** Wrong or missing tokens from one address in a minute. */
  readonly failuresPerMinute: number;
  readonly bodyBytes: number;
  /** Body of an import or of a batch of tickets. */
  readonly bulkBodyBytes: number;
  /** Event streams at the same time. */
  readonly streams: number;
  /** Bytes waiting for a reader of a stream; a slower one is dropped. */
  readonly streamBufferBytes: number;
  readonly heartbeatMs: number;
  /** How often a watched rollout is looked at without an event. */
  readonly watchMs: number;
}

export const DEFAULT_API_LIMITS: ApiLimits = {
  ...DEFAULT_HTTP_LIMITS,
  maxConnections: 256,
  maxRequestsPerConnection: 1_000,
  requestBurst: 200,
  requestsPerSecond: 50,
  failuresPerMinute: 10,
  bodyBytes: 1024 * 1024,
  bulkBodyBytes: 8 * 1024 * 1024,
  streams: 64,
  streamBufferBytes: 256 * 1024,
  heartbeatMs: 15_000,
  watchMs: 500,
};
