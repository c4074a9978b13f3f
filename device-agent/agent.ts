/**
 * The device agent as a library: enrols a device, keeps its identity, trust and working keys up to date, and proves what
 * it holds.
 */
export type { AgentActivity, AgentEvent, AgentEventListener, AgentPhase, AgentStatus } from './events.ts';
export { silentLog, type Log } from './log.ts';
export { DEFAULT_TIMING, type AgentOptions, type AgentTiming } from './options.ts';
export type { Transport, TransportFactory, TransportRequest } from './mqtt/transport.ts';
export { openDiskState, type DiskStateOptions } from './state/disk.ts';
export { memoryState } from './state/memory.ts';
export type { StateStore } from './state/store.ts';
export type { AgentState } from './state/state.ts';
export type { AgentView, BusyOracle } from './view.ts';

import type { AgentEventListener, AgentStatus } from './events.ts';
import type { AgentView } from './view.ts';

export interface Agent {
  /**
   * Loads the state and starts to work; resolves once the agent runs, before it is enrolled or connected. Network
   * faults are retried and told as events. Errors: `agent.state-corrupt`, `agent.not-enrolled` (neither identity nor
   * ticket), `ticket.invalid` (a ticket of another device), `input.invalid`.
   */
  start(): Promise<void>;
  /** Ends the work under way, disconnects in order and closes the state. */
  stop(): Promise<void>;
  /** Ends as a power cut would: the connection drops, what is not committed is lost. The state is not closed. */
  kill(): void;
  /** What applications of the device see. */
  readonly view: AgentView;
  status(): AgentStatus;
  onEvent(listener: AgentEventListener): () => void;
  /** Trust links from elsewhere (a USB stick), CMS DER, in any order. Returns the version held afterwards. Errors: `trust.*`, `message.*`. */
  importTrust(links: readonly Uint8Array[]): Promise<number>;
  /** Sends a report now. Resolves when it is durable and, if connected, acknowledged. */
  report(): Promise<void>;
  /** Renews the certificate now. */
  renew(): Promise<void>;
}
