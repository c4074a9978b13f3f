/**
 * The device agent as a library: enrols a device, keeps its identity, trust and working keys up to date, and proves what
 * it holds.
 */
import { CroupierError } from '#schema/errors.ts';
import type { TrustVersion } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import type { Ticket } from '#schema/ticket.ts';
import { TrustedTime } from './clock/trusted-time.ts';
import type { AgentContext, DeadlineName } from './context.ts';
import type { AgentEvent, AgentEventListener, AgentStatus } from './events.ts';
import { Lifecycle } from './lifecycle.ts';
import { silentLog } from './log.ts';
import { mqttTransport } from './mqtt/connection.ts';
import { DEFAULT_TIMING, type AgentOptions } from './options.ts';
import { Deadlines } from './runtime/deadlines.ts';
import { SerialQueue } from './runtime/serial-queue.ts';
import { HeldState } from './state/held.ts';
import { newState, type AgentState, type Registration } from './state/state.ts';
import type { AgentView } from './view.ts';

export type { AgentActivity, AgentEvent, AgentEventListener, AgentPhase, AgentStatus } from './events.ts';
export { silentLog, type Log } from './log.ts';
export { DEFAULT_TIMING, type AgentOptions, type AgentTiming } from './options.ts';
export { mqttTransport } from './mqtt/connection.ts';
export type { Transport, TransportFactory, TransportRequest } from './mqtt/transport.ts';
export { openDiskState, type DiskStateOptions } from './state/disk.ts';
export { memoryState } from './state/memory.ts';
export type { StateStore } from './state/store.ts';
export type { AgentState } from './state/state.ts';
export { readTrustLinks } from './trust/media.ts';
export type { AgentView, BusyOracle } from './view.ts';

export interface Agent {
  /**
   * Loads the state and starts to work; resolves once the agent runs, before it is enrolled or connected. Network
   * faults are retried and told as events. Errors: `agent.state-corrupt`, `store.unavailable`, `agent.not-enrolled`
   * (neither identity nor ticket), `ticket.invalid` (a ticket of another device), `input.invalid`.
   */
  start(): Promise<void>;
  /** Ends the work under way, disconnects in order and closes the state. */
  stop(): Promise<void>;
  /** Ends as a power cut would: the connection drops, nothing is committed any more. The state is not closed. */
  kill(): void;
  /** What applications of the device see. */
  readonly view: AgentView;
  /** Errors: `agent.not-enrolled` before the first start. */
  status(): AgentStatus;
  onEvent(listener: AgentEventListener): () => void;
  /**
   * Trust links from elsewhere (a USB stick), CMS DER, in any order. Resolves with the version held afterwards.
   * Errors: `trust.*`, `message.*`, `agent.not-enrolled` before the root is known.
   */
  importTrust(links: readonly Uint8Array[]): Promise<TrustVersion>;
  /** Makes a report now. Resolves when it is durable and, if the device is connected, acknowledged or lost. */
  report(): Promise<void>;
  /** Renews the certificate now. Resolves after the attempt; a failure is an event and is tried again. */
  renew(): Promise<void>;
}

function registrationOf({ realm, device, est, mqtt, public: publicUrl, root }: Ticket): Registration {
  return { realm, device, est, mqtt, public: publicUrl, root };
}

/** The state to start from: what is held, with the addresses of a newer ticket. */
function startingState(held: AgentState | undefined, ticket: Ticket | undefined): AgentState {
  if (ticket === undefined) {
    if (held === undefined)
      throw new CroupierError('agent.not-enrolled', 'the device has neither a state nor a ticket');
    return held;
  }
  const registration = registrationOf(ticket);
  if (held === undefined) return newState(registration);
  const { realm, device, root } = held.registration;
  if (realm !== ticket.realm || device !== ticket.device) {
    throw new CroupierError(
      'ticket.invalid',
      `the ticket is for ${ticket.device} of ${ticket.realm}, the state belongs to ${device} of ${realm}`,
    );
  }
  return { ...held, registration, root: root === ticket.root ? held.root : undefined };
}

/** An agent that does not run yet. */
export function createAgent(options: AgentOptions): Agent {
  const { state: store, ticket, clock = systemClock, random = systemRandom, log = silentLog, keyAlgorithm } = options;
  const held = new HeldState(store);
  const listeners = new Set<AgentEventListener>();
  const emit = (event: AgentEvent): void => {
    for (const listener of listeners) listener(event);
  };
  let life: Lifecycle | undefined;

  const contextOf = (state: AgentState, signal: AbortSignal): AgentContext => ({
    held,
    time: new TrustedTime(clock, state.clockFloor),
    clock,
    random,
    log,
    timing: { ...DEFAULT_TIMING, ...options.timing },
    busy: options.busy,
    keyAlgorithm,
    estLabel: options.estLabel,
    bootId: random.uuid(),
    agent: { version: options.version ?? '0', platform: options.platform ?? `${process.platform}-${process.arch}` },
    queue: new SerialQueue(),
    deadlines: new Deadlines<DeadlineName>(clock),
    signal,
    emit,
    fault: (activity, error, retryAfterMs) => life?.noteFault(activity, error, retryAfterMs),
  });

  const running = (): Lifecycle => {
    if (life === undefined) throw new CroupierError('agent.not-enrolled', 'the agent has not been started');
    return life;
  };

  return {
    view: held.view,
    start: async () => {
      if (keyAlgorithm === 'Ed25519') {
        throw new CroupierError('input.invalid', 'messages are not signed with Ed25519: choose an EC or RSA key');
      }
      const loaded = await held.load();
      const state = startingState(loaded, ticket);
      if (state !== loaded) await held.commit(state);
      const halt = new AbortController();
      const context = contextOf(state, halt.signal);
      life = new Lifecycle(context, options.transport ?? mqttTransport, ticket, () => halt.abort());
      life.start();
    },
    stop: async () => {
      await life?.stop();
      await store.close();
    },
    kill: () => life?.kill(),
    status: () => running().status(),
    onEvent: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    importTrust: async (links) => running().importTrust(links),
    report: async () => running().report(),
    renew: async () => running().renew(),
  };
}
