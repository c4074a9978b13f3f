/** Directories that only the agent's user can look into, and files in them that survive a power cut. */
import { mkdir, open, stat } from 'node:fs/promises';
import { CroupierError, errorMessage } from '#schema/errors.ts';

const OTHERS = 0o077;

/**
 * Creates the directory (0700) or accepts the one that is there.
 * Errors: `config.invalid` when it is no directory, belongs to another user or is open to others, or cannot be made.
 */
export async function ensurePrivateDirectory(path: string, what: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new CroupierError('config.invalid', `${what} ${path} cannot be created: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  const info = await stat(path);
  if (process.geteuid !== undefined && info.uid !== process.geteuid()) {
    throw new CroupierError('config.invalid', `${what} ${path} belongs to another user; use a directory of this user`);
  }
  if ((info.mode & OTHERS) !== 0) {
    const mode = (info.mode & 0o7777).toString(8);
    throw new CroupierError(
      'config.invalid',
      `${what} ${path} is open to others (mode ${mode}); run chmod 700 ${path}, or use another`,
    );
  }
}

/** Writes a new file and waits until its content is on the disk. */
export async function writeNewFile(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Waits until the entries of the directory are on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
