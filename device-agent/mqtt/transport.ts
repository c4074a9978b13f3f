/** The connection to a broker as the agent needs it. `mqtt/connection.ts` is the real one; a simulator may wrap it. */
import type { DeviceId } from '#schema/ids.ts';
import type { TlsIdentity, ServerTrust } from '../tls/connect.ts';

export interface TransportRequest {
  /** mqtts://host:port */
  readonly url: string;
  readonly clientId: DeviceId;
  readonly identity: TlsIdentity;
  readonly trust: ServerTrust;
  readonly subscriptions: readonly string[];
  readonly will: { readonly topic: string; readonly payload: string };
  readonly keepaliveSeconds: number;
  readonly timeoutMs: number;
  /** Ends the attempt to connect; an established connection stays. */
  readonly signal?: AbortSignal;
  readonly onMessage: (topic: string, payload: Uint8Array) => void;
  /** Called once, when a connection that was established is gone, whoever ended it. */
  readonly onClose: (error: Error | undefined) => void;
}

export interface Transport {
  /** Resolves when the broker has acknowledged it (QoS 1); rejects when the connection ends before. */
  publish(topic: string, payload: Uint8Array): Promise<void>;
  /** Disconnects in order, so that no last will is sent. */
  close(): Promise<void>;
  /** Drops the connection at once, as a power cut does. */
  destroy(): void;
}

/**
 * Connects, authenticates both sides and subscribes. Errors: `network.unreachable`, `network.timeout`,
 * `certificate.*` when the server is not trusted, `broker.denied`.
 */
export type TransportFactory = (request: TransportRequest) => Promise<Transport>;
