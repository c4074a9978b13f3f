import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { memoryState, openDiskState, type StateStore } from '#agent/agent.ts';
import { stateStoreContract } from './agent-state.contract.ts';

const directories: string[] = [];

afterAll(async () => {
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
});

stateStoreContract('memory', { open: async () => memoryState(), reopen: async (store) => store });

const places = new Map<StateStore, string>();

async function openAt(directory: string): Promise<StateStore> {
  const store = await openDiskState(directory);
  places.set(store, directory);
  return store;
}

stateStoreContract('disk', {
  open: async () => {
    const parent = await mkdtemp(join(tmpdir(), 'croupier-agent-'));
    directories.push(parent);
    return openAt(join(parent, 'state'));
  },
  reopen: async (store) => openAt(places.get(store) ?? ''),
});
