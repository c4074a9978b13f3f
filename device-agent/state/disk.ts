/**
 * The StateStore on disk. The directory holds `state` (see codec.ts), while a commit is under way `state.staged`, and
 * unless it is kept elsewhere `storage.key`. `state` is the one pointer: a commit writes and syncs the stage, renames
 * it over `state` and syncs the directory.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import { decodeState, encodeState, STORAGE_KEY_OCTETS } from './codec.ts';
import { nodeFiles, type Files } from './files.ts';
import type { AgentState } from './state.ts';
import type { StateStore } from './store.ts';

export interface DiskStateOptions {
  /**
   * File with the storage key, 32 raw octets. `storage.key` in the directory unless told; kept elsewhere (a credential
   * that a TPM unseals, a RAM disk), a copy of the directory gives no key away.
   */
  readonly storageKeyFile?: string;
  readonly files?: Files;
}

async function replaceDurably(files: Files, directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const staged = join(directory, `${name}.staged`);
  await files.write(staged, bytes);
  await files.sync(staged);
  await files.rename(staged, join(directory, name));
  await files.syncDirectory(directory);
}

async function storageKey(
  files: Files,
  directory: string,
  path: string | undefined,
  stateExists: boolean,
): Promise<Uint8Array> {
  const found = await files.read(path ?? join(directory, 'storage.key'));
  if (found?.length === STORAGE_KEY_OCTETS) return found;
  if (path !== undefined || stateExists || found !== undefined) {
    throw new CroupierError(
      'agent.state-corrupt',
      `the storage key ${path ?? join(directory, 'storage.key')} is missing or has not ${STORAGE_KEY_OCTETS} octets`,
    );
  }
  const created = randomBytes(STORAGE_KEY_OCTETS);
  await replaceDurably(files, directory, 'storage.key', created);
  return created;
}

/**
 * Opens (and creates, mode 0700) the state directory. One process at a time may use it. What a commit that died left
 * behind is removed. Errors: `store.unavailable`, `agent.state-corrupt`.
 */
export async function openDiskState(directory: string, options: DiskStateOptions = {}): Promise<StateStore> {
  const { files = nodeFiles, storageKeyFile } = options;
  const unavailable = (error: unknown): CroupierError =>
    asCroupierError(error, 'store.unavailable', `the state directory ${directory} cannot be read or written`);
  let key: Uint8Array;
  let bytes: Uint8Array | undefined;
  try {
    await files.makeDirectory(directory);
    await files.remove(join(directory, 'state.staged'));
    bytes = await files.read(join(directory, 'state'));
    key = await storageKey(files, directory, storageKeyFile, bytes !== undefined);
  } catch (error) {
    throw unavailable(error);
  }
  let held = bytes === undefined ? undefined : decodeState(bytes, key);
  return {
    load: async () => held,
    commit: async (state: AgentState) => {
      try {
        await replaceDurably(files, directory, 'state', encodeState(state, key));
      } catch (error) {
        throw unavailable(error);
      }
      held = state;
    },
    close: async () => undefined,
  };
}
