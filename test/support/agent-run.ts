/** An agent under test: its events, and waiting for them. */
import { createAgent, memoryState, type Agent, type AgentEvent, type AgentOptions } from '#agent/agent.ts';
import { waitUntil } from './wait-until.ts';

export const FAST_TIMING = { backoffMinMs: 5, backoffMaxMs: 50, timeoutMs: 5_000, busyPollMs: 20 };

type EventOf<Kind extends AgentEvent['kind']> = Extract<AgentEvent, { kind: Kind }>;

export interface AgentRun {
  readonly agent: Agent;
  readonly events: AgentEvent[];
  all<Kind extends AgentEvent['kind']>(kind: Kind): EventOf<Kind>[];
  /** The event of this kind with this number (from 1), once it is there. */
  event<Kind extends AgentEvent['kind']>(kind: Kind, count?: number): Promise<EventOf<Kind>>;
}

export function agentRun(options: Partial<AgentOptions>): AgentRun {
  const agent = createAgent({ state: memoryState(), ...options, timing: { ...FAST_TIMING, ...options.timing } });
  const events: AgentEvent[] = [];
  agent.onEvent((event) => events.push(event));
  const all: AgentRun['all'] = (kind) => events.filter((event): event is EventOf<typeof kind> => event.kind === kind);
  return {
    agent,
    events,
    all,
    event: async (kind, count = 1) => {
      const found = await waitUntil(
        () => all(kind)[count - 1],
        () => `${count} events ${kind} after ${JSON.stringify(events.slice(-5))}`,
      );
      return found;
    },
  };
}
