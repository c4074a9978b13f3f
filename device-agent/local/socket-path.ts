/** Taking a path for a Unix socket without ever deleting what is not a dead socket. */
import { lstat, rename, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { CroupierError } from '#schema/errors.ts';
import { ensurePrivateDirectory } from './private-directory.ts';

/** `sun_path` of Linux is 108 octets with its closing NUL; elsewhere it is 104. */
const MAX_PATH_OCTETS = 103;

/** Where an agent listens: as told, else in its data directory. Errors: `input.invalid` when neither is named. */
export function socketPath(data: string | undefined, socket: string | undefined): string {
  if (socket !== undefined) return socket;
  if (data === undefined) throw new CroupierError('input.invalid', 'neither --data nor --socket is given');
  return join(data, 'run', 'agent.sock');
}

/**
 * On return the directory is private and nothing is at `path`: a socket that a dead agent left is removed.
 * Errors: `config.invalid` for a path that is too long, a directory open to others, or something that is no socket;
 * `agent.running` when somebody listens.
 */
export async function claimSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_OCTETS) {
    throw new CroupierError(
      'config.invalid',
      `the socket path ${path} is longer than ${MAX_PATH_OCTETS} octets; name a shorter one`,
    );
  }
  await ensurePrivateDirectory(dirname(path), 'the directory of the socket');
  const info = await lstat(path).catch(ifMissing);
  if (info === undefined) return;
  if (!info.isSocket()) {
    throw new CroupierError('config.invalid', `${path} exists and is no socket; remove it, or name another path`);
  }
  if (await somebodyListens(path)) throw new CroupierError('agent.running', `another agent listens on ${path}`);
  await removeDead(path);
}

/** Another agent may have taken the path since it was tried: what is moved aside is tried again before it goes. */
async function removeDead(path: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  await rename(path, aside).catch(ifMissing);
  if (await somebodyListens(aside)) {
    await rename(aside, path);
    throw new CroupierError('agent.running', `another agent listens on ${path}`);
  }
  await unlink(aside).catch(ifMissing);
}

/** Binds with a umask, so that at no moment the socket is open to others. Errors: `config.invalid`, `agent.running`. */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const code = error.code === 'EADDRINUSE' ? 'agent.running' : 'config.invalid';
      reject(new CroupierError(code, `the socket ${path} cannot be opened: ${error.message}`, { cause: error }));
    };
    server.once('error', failed);
    const umask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', failed);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

/**
 * Keeps a directory for one process: a socket that answers nobody, which the kernel closes however the process ends.
 * Returns what gives it up. Errors: `agent.running`, and as `claimSocketPath`.
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'lock');
  await claimSocketPath(path);
  const server = createServer((socket) => socket.destroy());
  await listenPrivately(server, path);
  server.unref();
  return () => new Promise((resolve) => server.close(() => resolve()));
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
