/** Taking a path for a Unix socket without ever deleting what is not a dead socket. */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { CroupierError } from '#schema/errors.ts';
import { ensurePrivateDirectory } from './private-directory.ts';

/** `sun_path` of Linux is 108 octets with its closing NUL; elsewhere it is 104. */
const MAX_PATH_OCTETS = 103;

/**
 * On return the directory is private and nothing is at `path`: a socket that a dead agent left is removed.
 * Errors: `config.invalid` for a path that is too long, a directory open to others, or something that is no socket;
 * `agent.running` when somebody listens.
 */
export async function claimSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_OCTETS) {
    throw new CroupierError(
      'config.invalid',
      `the socket path ${path} is longer than ${MAX_PATH_OCTETS} octets; name a shorter one with --socket`,
    );
  }
  await ensurePrivateDirectory(dirname(path), 'the directory of the socket');
  const info = await lstat(path).catch(ifMissing);
  if (info === undefined) return;
  if (!info.isSocket()) {
    throw new CroupierError(
      'config.invalid',
      `${path} exists and is no socket; remove it, or name another path with --socket`,
    );
  }
  if (await somebodyListens(path)) throw new CroupierError('agent.running', `another agent listens on ${path}`);
  await unlink(path).catch(ifMissing);
}

/** Whether a connection to the socket succeeds. */
export function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      // A full backlog: somebody listens and is slow.
      else if (error.code === 'EAGAIN') resolve(true);
      else
        reject(
          new CroupierError('config.invalid', `the socket ${path} cannot be tried: ${error.message}`, { cause: error }),
        );
    });
  });
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
