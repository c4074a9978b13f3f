/**
 * Busy leases across restarts: credits stay on the meter through a power cut, so the lease that protects them must,
 * too. One small JSON file, replaced as a whole.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { KeySetName } from '#schema/ids.ts';
import { parseJson } from '#schema/parse.ts';
import type { Log } from '../log.ts';
import type { LeaseMemory, RememberedLease } from './busy-leases.ts';

const Leases = z.array(
  z.object({ holder: z.string(), keySet: KeySetName.nullable(), reason: z.string(), until: z.iso.datetime() }),
);

/**
 * A file that cannot be read is taken for no leases and logged: it must not keep the agent from starting. One that
 * cannot be written fails the request, since a lease that a restart forgets was not granted.
 */
export function leaseFile(path: string, log: Log): LeaseMemory {
  return {
    load: () => {
      try {
        return parseJson(Leases, readFileSync(path, 'utf8'), 'json.malformed', 'the busy leases');
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
          log.warn({ path, reason: errorMessage(error) }, 'busy leases of the run before are lost');
        }
        return [];
      }
    },
    // Synchronous: a lease is granted and remembered in one step, and the file is a few hundred octets.
    save: (leases: readonly RememberedLease[]) => {
      try {
        replaceFile(path, JSON.stringify(leases));
      } catch (error) {
        throw new CroupierError(
          'store.unavailable',
          `the busy lease cannot be kept in ${path}: ${errorMessage(error)}`,
          { cause: error },
        );
      }
    },
  };
}

function replaceFile(path: string, content: string): void {
  const staged = `${path}.staged`;
  rmSync(staged, { force: true });
  const file = openSync(staged, 'wx', 0o600);
  try {
    writeSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(staged, path);
}
