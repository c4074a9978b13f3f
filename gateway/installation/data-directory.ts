/** Where everything of an installation lives: one directory, owner-only. */
import { chmod, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CroupierError } from '#schema/errors.ts';

export interface DataDirectory {
  readonly root: string;
  readonly config: string;
  readonly policy: string;
  readonly run: string;
  readonly lock: string;
  readonly ca: string;
  /** The root that the audit trail is verified with; not there while it is the only root. */
  readonly auditRoot: string;
  readonly tls: string;
  readonly hsm: string;
  readonly hsmPin: string;
  /** Token of the root key: to be taken offline after the ceremony. */
  readonly rootToken: string;
  readonly rootPin: string;
  readonly operators: string;
  readonly tickets: string;
  /** Every trust bundle as a file of its own. */
  readonly trustLinks: string;
}

export function dataDirectory(directory: string): DataDirectory {
  const root = path.resolve(directory);
  const inside = (...parts: string[]): string => path.join(root, ...parts);
  return {
    root,
    config: inside('croupier.toml'),
    policy: inside('policy.yaml'),
    run: inside('run.json'),
    lock: inside('gateway.lock'),
    ca: inside('ca'),
    auditRoot: inside('ca', 'audit-root.pem'),
    tls: inside('tls'),
    hsm: inside('hsm'),
    hsmPin: inside('hsm', 'pin'),
    rootToken: inside('root-token'),
    rootPin: inside('root-token', 'pin'),
    operators: inside('operators'),
    tickets: inside('tickets'),
    trustLinks: inside('trust-links'),
  };
}

/** Makes the directory and its folders, 0700. */
export async function makeDataDirectory(data: DataDirectory): Promise<void> {
  for (const folder of [data.root, data.ca, data.tls, data.hsm, data.rootToken, data.operators, data.tickets]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700);
  }
}

/** Writes a whole file, 0600, or leaves the old one: temporary file, fsync, rename. */
export async function writePrivateFile(file: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${file}.${process.pid}.new`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}

/** Writes a file that anyone who may enter the directory may read. */
export async function writePublicFile(file: string, content: string): Promise<void> {
  await writeFile(file, content, { mode: 0o644 });
}

/** Reads a secret by its path; trailing line breaks do not belong to it. Errors: `config.missing`. */
export async function readSecret(file: string, what: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/[\r\n]+$/, '');
  } catch (error) {
    throw new CroupierError('config.missing', `${what} cannot be read from ${file}`, { cause: error });
  }
}
