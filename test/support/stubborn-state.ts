/** A device that takes a version for destroyed which it never held: it refuses every update that would give it that. */
import type { StateStore } from '#agent/agent.ts';
import type { AgentState } from '#agent/state/state.ts';
import type { KeySetName, KeyVersionNumber } from '#schema/ids.ts';

/** The belief is the agent's alone: the state below keeps nothing of it, so that switching on without it mends the device. */
export function stubborn(keySet: KeySetName, version: KeyVersionNumber): (state: StateStore) => StateStore {
  const changed = (state: AgentState, isBelieved: boolean): AgentState => ({
    ...state,
    keyrings: state.keyrings.map((keyring) => {
      if (keyring.keySet !== keySet) return keyring;
      const others = keyring.destroyed.filter((tombstone) => tombstone.version !== version);
      return { ...keyring, destroyed: isBelieved ? [...others, { version, kcv: null, listed: false }] : others };
    }),
  });
  return (state) => ({
    load: async () => {
      const loaded = await state.load();
      return loaded === undefined ? undefined : changed(loaded, true);
    },
    commit: (next) => state.commit(changed(next, false)),
    close: () => state.close(),
  });
}
