/** The few file operations that a crash-safe commit is made of, so that a test can stop between any two of them. */
import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, unlink } from 'node:fs/promises';

export interface Files {
  makeDirectory(path: string): Promise<void>;
  /** Undefined if there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Creates or empties the file (mode 0600), writes all bytes. */
  write(path: string, bytes: Uint8Array): Promise<void>;
  /** Brings the file's content to the disk. */
  sync(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Brings the directory's entries to the disk. */
  syncDirectory(path: string): Promise<void>;
  /** No fault if there is none. */
  remove(path: string): Promise<void>;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function syncPath(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export const nodeFiles: Files = {
  makeDirectory: async (path) => {
    await mkdir(path, { recursive: true, mode: 0o700 });
  },
  read: async (path) => {
    try {
      return await readFile(path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },
  write: async (path, bytes) => {
    const handle = await open(path, 'w', 0o600);
    try {
      await handle.writeFile(bytes);
    } finally {
      await handle.close();
    }
  },
  sync: (path) => syncPath(path, constants.O_RDWR),
  rename,
  syncDirectory: (path) => syncPath(path, constants.O_RDONLY | constants.O_DIRECTORY),
  remove: async (path) => {
    try {
      await unlink(path);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  },
};
