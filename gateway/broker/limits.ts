/** What one device, and all together, may cost the embedded broker. */
import { CroupierError } from '#schema/errors.ts';

export interface BrokerLimits {
  /** Largest MQTT packet from a device; the connection ends at the header of a larger one. */
  readonly maxPacketBytes: number;
  /** Largest CONNECT packet. */
  readonly maxConnectBytes: number;
  /** Packets per second from one connection, over time. */
  readonly messagesPerSecond: number;
  /** Packets that one connection may send at once. */
  readonly burst: number;
  /** TCP connections, handshakes under way included; further ones are closed at once. */
  readonly maxConnections: number;
  /** Milliseconds for the TLS handshake, then for the CONNECT packet, then for the authorizer. */
  readonly connectTimeoutMs: number;
  /** A device must ask for a keepalive, and for none longer than this. */
  readonly keepaliveMaxSeconds: number;
  /** Milliseconds after which a device that reads nothing is cut off. */
  readonly drainTimeoutMs: number;
  /** Messages sent to one device that it has not acknowledged; further ones are dropped. */
  readonly maxUnacknowledged: number;
  /** Bytes waiting in the socket of one device; above this, messages to it are dropped. */
  readonly maxBufferedBytes: number;
}

export const DEFAULT_BROKER_LIMITS: BrokerLimits = {
  maxPacketBytes: 256 * 1024,
  maxConnectBytes: 4096,
  messagesPerSecond: 20,
  burst: 100,
  maxConnections: 12_000,
  connectTimeoutMs: 15_000,
  keepaliveMaxSeconds: 900,
  drainTimeoutMs: 30_000,
  maxUnacknowledged: 128,
  maxBufferedBytes: 1024 * 1024,
};

/** The defaults with what the operator set. Errors: `config.invalid` for what is not a positive number. */
export function brokerLimits(chosen: Partial<BrokerLimits> = {}): BrokerLimits {
  const limits = { ...DEFAULT_BROKER_LIMITS, ...chosen };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isFinite(value) || value <= 0) {
      throw new CroupierError('config.invalid', `The broker limit ${name} must be a positive number`);
    }
  }
  return limits;
}
