/** What every StateStore promises. */
import { describe, expect, test } from 'vitest';
import type { StateStore } from '#agent/state/store.ts';
import { emptyState, fullState } from '#test/support/agent-states.ts';

export interface StateStoreSetting {
  open(): Promise<StateStore>;
  /** A store on the same state after the process ended, without a `close`. */
  reopen(store: StateStore): Promise<StateStore>;
}

export function stateStoreContract(name: string, setting: StateStoreSetting): void {
  describe(`state store: ${name}`, () => {
    test('given a new device, then there is no state', async () => {
      expect(await (await setting.open()).load()).toBeUndefined();
    });

    test.each([
      ['little', emptyState()],
      ['everything', fullState(1)],
    ])(
      'given a state with %s, when it is committed and the process ends, then it is loaded as it was',
      async (_, state) => {
        const store = await setting.open();
        await store.commit(state);
        expect(await (await setting.reopen(store)).load()).toEqual(state);
      },
    );

    test('given several commits, then the last one is loaded, also without a restart', async () => {
      const store = await setting.open();
      await store.commit(fullState(1));
      await store.commit(emptyState());
      await store.commit(fullState(3));
      expect(await store.load()).toEqual(fullState(3));
      expect(await (await setting.reopen(store)).load()).toEqual(fullState(3));
    });
  });
}
