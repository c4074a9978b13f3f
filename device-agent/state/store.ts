/** The StateStore port: everything an agent must remember. Contract: test/contract/agent-state.contract.ts. */
import type { AgentState } from './state.ts';

export interface StateStore {
  /**
   * The state of the last commit that resolved (or one that was under way when the process died, if it got that far),
   * undefined on a device that is new. What a died commit staged is dropped. Errors: `agent.state-corrupt`.
   */
  load(): Promise<AgentState | undefined>;
  /**
   * Replaces the state as a whole. Resolved means durable: it outlives a power cut. Rejected means that the state
   * before still stands. One at a time. Errors: `store.unavailable`.
   */
  commit(state: AgentState): Promise<void>;
  close(): Promise<void>;
}
