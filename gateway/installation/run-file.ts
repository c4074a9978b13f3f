/** One gateway per data directory: a lock that names its owner, and `run.json` for those who look for it. */
import { open, readFile, rm } from 'node:fs/promises';
import { CroupierError } from '#schema/errors.ts';
import { RunFile } from '#schema/config.ts';
import { parseJson } from '#schema/parse.ts';
import { writePrivateFile, type DataDirectory } from './data-directory.ts';

/** Whether a process of this number runs that is not this one. */
function isRunning(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function readPid(file: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(file, 'utf8'), 10);
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Takes the lock; one left behind by a process that is gone is taken over. Errors: `data.in-use`. */
export async function lockDataDirectory(data: DataDirectory): Promise<() => Promise<void>> {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const handle = await open(data.lock, 'wx', 0o600);
      await handle.writeFile(String(process.pid));
      await handle.close();
      return () => rm(data.lock, { force: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
        throw new CroupierError(
          'config.missing',
          `the data directory ${data.root} cannot be used; run croupier init --data ${data.root}`,
          { cause: error },
        );
      }
      const owner = await readPid(data.lock);
      if (owner !== undefined && isRunning(owner)) {
        throw new CroupierError('data.in-use', `process ${owner} uses ${data.root}`, { detail: { pid: owner } });
      }
      await rm(data.lock, { force: true });
    }
  }
  throw new CroupierError('data.in-use', `another process has just taken ${data.root}`);
}

export async function writeRunFile(data: DataDirectory, run: RunFile): Promise<void> {
  await writePrivateFile(data.run, `${JSON.stringify(run, null, 2)}\n`);
}

export async function removeRunFile(data: DataDirectory): Promise<void> {
  await rm(data.run, { force: true });
}

/** Where the gateway of this directory listens. Errors: `network.unreachable` when none runs. */
export async function readRunFile(data: DataDirectory): Promise<RunFile> {
  let text: string;
  try {
    text = await readFile(data.run, 'utf8');
  } catch (error) {
    throw new CroupierError(
      'network.unreachable',
      `no gateway runs on ${data.root}; start it with croupier gateway --data ${data.root}`,
      { cause: error },
    );
  }
  return parseJson(RunFile, text, 'config.invalid', data.run);
}
