/** A StateStore in memory, for floors of simulated devices and for tests. It outlives an agent, not the process. */
import { Buffer } from 'node:buffer';
import type { AgentState } from './state.ts';
import type { StateStore } from './store.ts';

/** With keys of its own: an agent overwrites those that it no longer holds. All else is never changed in place. */
function withOwnKeys(state: AgentState): AgentState {
  const keyrings = state.keyrings.map((keyring) => ({
    ...keyring,
    versions: keyring.versions.map((version) => ({ ...version, key: Buffer.from(version.key) })),
  }));
  return { ...state, keyrings };
}

export function memoryState(initial?: AgentState): StateStore {
  let held = initial && withOwnKeys(initial);
  return {
    load: async () => held && withOwnKeys(held),
    commit: async (state) => {
      held = withOwnKeys(state);
    },
    close: async () => undefined,
  };
}
