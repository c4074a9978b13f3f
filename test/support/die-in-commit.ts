/** A process that kills itself at one step of a commit: `node die-in-commit.ts DIRECTORY STEP`. Step 0: it does not. */
import { nodeFiles, type Files } from '#agent/state/files.ts';
import { openDiskState } from '#agent/state/disk.ts';
import { fullState } from './agent-states.ts';

const [directory = '', step = '0'] = process.argv.slice(2);
let left = Number(step);
let isArmed = false;

/** Half of the bytes are written before the process dies in `write`. */
const dyingFiles: Files = {
  ...nodeFiles,
  write: async (path, bytes) => {
    if (isArmed && left === 1) await nodeFiles.write(path, bytes.subarray(0, bytes.length / 2));
    await dieOr(() => nodeFiles.write(path, bytes));
  },
  sync: (path) => dieOr(() => nodeFiles.sync(path)),
  rename: (from, to) => dieOr(() => nodeFiles.rename(from, to)),
  syncDirectory: (path) => dieOr(() => nodeFiles.syncDirectory(path)),
};

async function dieOr(act: () => Promise<void>): Promise<void> {
  if (isArmed) left -= 1;
  if (isArmed && left === 0) process.kill(process.pid, 'SIGKILL');
  await act();
}

const store = await openDiskState(directory, { files: dyingFiles });
await store.commit(fullState(1));
isArmed = Number(step) > 0;
await store.commit(fullState(2));
process.stdout.write('committed');
