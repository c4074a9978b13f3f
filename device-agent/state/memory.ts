/** A StateStore in memory, for floors of simulated devices and for tests. It outlives an agent, not the process. */
import type { AgentState } from './state.ts';
import type { StateStore } from './store.ts';

/** States are never changed in place, so that keeping the reference is keeping the state. */
export function memoryState(initial?: AgentState): StateStore {
  let held = initial;
  return {
    load: async () => held,
    commit: async (state) => {
      held = state;
    },
    close: async () => undefined,
  };
}
