import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';
import { makeTestToken } from '#test/support/softhsm.ts';
import { keyStoreContract } from './keystore.contract.ts';

keyStoreContract('the key store in memory', async () => ({
  keyStore: createMemoryKeyStore(),
  remove: async () => undefined,
}));

// All tokens of this process lie in one directory, since the module reads its configuration once.
let directory: string;
let tokens = 0;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'croupier-contract-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

for (const signing of ['async', 'sync'] as const) {
  keyStoreContract(`the key store on SoftHSM2, signing ${signing}`, async () => {
    tokens += 1;
    const token = await makeTestToken({ directory, label: `token ${tokens}` });
    const keyStore = await token.open({ signing });
    return { keyStore, remove: () => keyStore.close() };
  });
}
