/** Tokens of operators: files that only their owner can read. The role of a token is known to the gateway alone. */
import { open, readdir, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { OperatorName } from '#schema/ids.ts';
import type { Action, Role } from '#schema/operators.ts';
import { parseWith } from '#schema/parse.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';

const MAX_OCTETS = 4_096;
const EXTENSION = '.token';

/** What changes nothing may be asked by whoever may: no audit record names who looked. */
const VIEWS: readonly Action[] = ['fleet.view', 'audit.read'];

export interface CredentialOptions {
  readonly data: string;
  readonly as?: string | undefined;
  readonly tokenFile?: string | undefined;
}

/** What the gateway says about a token. */
export interface Self {
  readonly name: string;
  readonly role: Role;
  readonly permissions: Readonly<Partial<Record<Action, 'execute' | 'request' | 'approve'>>>;
}

export function tokenFileOf(data: string, operator: string): string {
  return path.join(
    dataDirectory(data).operators,
    `${parseWith(OperatorName, operator, 'input.invalid', 'operator')}${EXTENSION}`,
  );
}

/**
 * The token in a file. Errors: `config.missing` for no file, `config.invalid` when others may read it or it holds no
 * token. No message quotes what the file holds.
 */
export async function readTokenFile(file: string): Promise<string> {
  const handle = await openTokenFile(file);
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new CroupierError('config.invalid', `the token file ${file} is not a file`);
    if ((info.mode & 0o077) !== 0) {
      throw new CroupierError(
        'config.invalid',
        `the token file ${file} can be read by others (mode ${(info.mode & 0o777).toString(8)}): run chmod 600 ${file}, and have the operator replaced if somebody may have seen it`,
      );
    }
    const token = info.size > MAX_OCTETS ? '' : (await handle.readFile('utf8')).trim();
    if (!/^[\x21-\x7e]+$/.test(token)) throw new CroupierError('config.invalid', `${file} holds no token`);
    return token;
  } finally {
    await handle.close();
  }
}

async function openTokenFile(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'r');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const what = missing
      ? `there is no token file ${file}`
      : `the token file ${file} cannot be read: ${errorMessage(error)}`;
    throw new CroupierError('config.missing', `${what}; pass the one of the operator with --token-file`, {
      cause: error,
    });
  }
}

/** The token files of the data directory, by name. */
async function tokenFiles(data: string): Promise<readonly string[]> {
  const { operators } = dataDirectory(data);
  const names = await readdir(operators).catch(() => []);
  return names
    .filter((name) => name.endsWith(EXTENSION))
    .sort()
    .map((name) => path.join(operators, name));
}

/**
 * The token to use for `action`: the one that was named, else the one on this machine whose role fits. For views any
 * that fits will do. Errors: `config.missing`, `config.invalid`, `operator.unauthenticated`,
 * `operator.forbidden`, `input.invalid` when several fit.
 */
export async function chooseToken(
  options: CredentialOptions,
  action: Action,
  whoIs: (token: string) => Promise<Self>,
): Promise<string> {
  if (options.tokenFile !== undefined) return readTokenFile(options.tokenFile);
  if (options.as !== undefined) return readTokenFile(tokenFileOf(options.data, options.as));
  const files = await tokenFiles(options.data);
  const [only, ...others] = files;
  if (only === undefined) {
    throw new CroupierError(
      'config.missing',
      `there is no operator's token in ${dataDirectory(options.data).operators}; pass --token-file FILE`,
    );
  }
  if (others.length === 0) return readTokenFile(only);
  return chooseByRole(files, action, whoIs);
}

async function chooseByRole(
  files: readonly string[],
  action: Action,
  whoIs: (token: string) => Promise<Self>,
): Promise<string> {
  const known: Self[] = [];
  const fitting: { readonly self: Self; readonly token: string }[] = [];
  for (const file of files) {
    const token = await readTokenFile(file);
    const self = await whoIs(token).catch((error: unknown) => {
      if (error instanceof CroupierError && error.code === 'operator.unauthenticated') return undefined;
      throw error;
    });
    if (self === undefined) continue;
    known.push(self);
    const permission = self.permissions[action];
    if (permission !== 'execute' && permission !== 'request') continue;
    if (VIEWS.includes(action)) return token;
    fitting.push({ self, token });
  }
  const [first, ...others] = fitting;
  const described = (selves: readonly Self[]): string => selves.map(({ name, role }) => `${name} (${role})`).join(', ');
  if (known.length === 0) {
    throw new CroupierError(
      'operator.unauthenticated',
      `the gateway knows none of the tokens in ${path.dirname(files[0] ?? '')}`,
    );
  }
  if (first === undefined) {
    throw new CroupierError(
      'operator.forbidden',
      `no operator here may do ${action}: there ${known.length === 1 ? 'is' : 'are'} ${described(known)}`,
    );
  }
  if (others.length > 0) {
    throw new CroupierError(
      'input.invalid',
      `several operators here may do ${action}: say which one with --as: ${described(fitting.map(({ self }) => self))}`,
    );
  }
  return first.token;
}
