import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDiskState } from '#agent/agent.ts';
import { nodeFiles, type Files } from '#agent/state/files.ts';
import { fullState } from '#test/support/agent-states.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const run = promisify(execFile);
const DIE = fileURLToPath(new URL('../../../support/die-in-commit.ts', import.meta.url));
/** write, sync, rename, syncDirectory */
const STEPS = [1, 2, 3, 4] as const;

let directory: string;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'croupier-agent-')), 'state');
});

afterEach(async () => {
  await rm(join(directory, '..'), { recursive: true, force: true });
});

const generation = async (): Promise<number | undefined> => (await (await openDiskState(directory)).load())?.generation;

async function die(step: number): Promise<string> {
  try {
    return (await run(process.execPath, [DIE, directory, String(step)])).stdout;
  } catch (error) {
    return error instanceof Error && 'signal' in error ? String(error.signal) : 'failed';
  }
}

describe('given a commit', () => {
  test('when the process lives, then the state is the one after, and only files of the owner are there', async () => {
    expect(await die(0)).toBe('committed');
    expect(await generation()).toBe(2);
    expect((await readdir(directory)).sort()).toEqual(['state', 'storage.key']);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(directory)) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
  });

  test.each([
    [1, 'half of the stage is written', 1],
    [2, 'the stage is written', 1],
    [3, 'the stage is synced', 1],
    [4, 'the pointer has switched', 2],
  ])(
    'when the process is killed at step %i, where %s, then the state is that of commit %s',
    async (step, _, expected) => {
      expect(await die(step)).toBe('SIGKILL');
      const store = await openDiskState(directory);
      expect(await store.load()).toEqual(fullState(expected));
      expect((await readdir(directory)).sort()).toEqual(['state', 'storage.key']);
      await store.commit(fullState(3));
      expect(await generation()).toBe(3);
    },
  );

  test.each(STEPS)(
    'when step %i fails, as on a full disk, then it is refused, and the next commit succeeds',
    async (step) => {
      let count = 0;
      const failing = (act: () => Promise<void>): Promise<void> => {
        count += 1;
        return count === step ? Promise.reject(new Error('ENOSPC')) : act();
      };
      const store = await openDiskState(directory);
      await store.commit(fullState(1));
      const files: Files = {
        ...nodeFiles,
        write: (path, bytes) => failing(() => nodeFiles.write(path, bytes)),
        sync: (path) => failing(() => nodeFiles.sync(path)),
        rename: (from, to) => failing(() => nodeFiles.rename(from, to)),
        syncDirectory: (path) => failing(() => nodeFiles.syncDirectory(path)),
      };
      const broken = await openDiskState(directory, { files });
      await expectRefusal('store.unavailable', () => broken.commit(fullState(2)));
      expect(await broken.load()).toEqual(fullState(1));
      await broken.commit(fullState(3));
      expect(await generation()).toBe(3);
    },
  );
});

describe('given a state on disk', () => {
  beforeEach(async () => {
    await (await openDiskState(directory)).commit(fullState(1));
  });

  test('then no working key and no private key is in it in clear', async () => {
    const bytes = await readFile(join(directory, 'state'));
    const { keyrings, identities } = fullState(1);
    const secrets = [
      ...(keyrings[0]?.versions ?? []).flatMap(({ key }) => [
        Buffer.from(key),
        Buffer.from(Buffer.from(key).toString('base64')),
      ]),
      Buffer.from('PRIVATE KEY'),
      Buffer.from(identities.requested?.privateKey ?? 'none'),
    ];
    for (const secret of secrets) expect(bytes.includes(secret)).toBe(false);
    expect(bytes.includes('wallet-kek')).toBe(true);
  });

  test.each(['state', 'storage.key'])('when one bit of %s is changed, then it is refused', async (name) => {
    const path = join(directory, name);
    const bytes = await readFile(path);
    const index = name === 'state' ? bytes.indexOf('wallet-kek') : 3;
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expectRefusal('agent.state-corrupt', () => openDiskState(directory));
  });

  test('when the storage key is gone, then it is refused and no other one is made', async () => {
    await rm(join(directory, 'storage.key'));
    await expectRefusal('agent.state-corrupt', () => openDiskState(directory));
    expect(await readdir(directory)).toEqual(['state']);
  });

  test('when the storage key is kept elsewhere, then the state opens with it alone', async () => {
    const storageKeyFile = join(directory, '..', 'elsewhere.key');
    await writeFile(storageKeyFile, await readFile(join(directory, 'storage.key')));
    await rm(join(directory, 'storage.key'));
    expect(await (await openDiskState(directory, { storageKeyFile })).load()).toEqual(fullState(1));
    await expectRefusal('agent.state-corrupt', () =>
      openDiskState(directory, { storageKeyFile: `${storageKeyFile}.no` }),
    );
  });
});
