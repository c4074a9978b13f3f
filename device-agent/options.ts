/** How an agent is set up. */
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Ticket } from '#schema/ticket.ts';
import type { Log } from './log.ts';
import type { TransportFactory } from './mqtt/transport.ts';
import type { StateStore } from './state/store.ts';
import type { BusyOracle } from './view.ts';

export interface AgentTiming {
  /** A report is sent at least this often, with jitter. */
  readonly reportIntervalMs: number;
  /** Reports that only tell of refusals are at least this far apart; the first of a series goes at once. */
  readonly refusalIntervalMs: number;
  /** Full-jitter backoff of connections, enrolment and renewal. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** Of a TLS handshake with CONNACK, of one HTTP exchange. */
  readonly timeoutMs: number;
  readonly keepaliveSeconds: number;
  /** How often a deferred activation asks whether the device is free. */
  readonly busyPollMs: number;
}

export const DEFAULT_TIMING: AgentTiming = {
  reportIntervalMs: 15 * 60_000,
  refusalIntervalMs: 60_000,
  backoffMinMs: 1_000,
  backoffMaxMs: 5 * 60_000,
  timeoutMs: 20_000,
  keepaliveSeconds: 60,
  busyPollMs: 5_000,
};

export interface AgentOptions {
  /** Where the state lives: `openDiskState(directory)` or `memoryState()`. The agent closes it on `stop()`. */
  readonly state: StateStore;
  /** Needed until the device is enrolled, and again to enrol it anew. */
  readonly ticket?: Ticket;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Log;
  /**
   * Type of the keys that the agent generates for its identity; unless told, what the server's csrattrs asks for first,
   * else EC-P256. Ed25519 is refused, since messages are not signed with it.
   */
  readonly keyAlgorithm?: KeyAlgorithm;
  /** EST label (RFC 7030, 3.2.2); none unless told. */
  readonly estLabel?: string;
  readonly busy?: BusyOracle;
  readonly timing?: Partial<AgentTiming>;
  readonly version?: string;
  readonly platform?: string;
  /** The connection to the broker; a simulator wraps the real one to lose, double or delay messages. */
  readonly transport?: TransportFactory;
}
