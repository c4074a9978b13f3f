import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { claimSocketPath } from '#agent/local/socket-path.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-path-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const refused = (code: string): unknown => expect.objectContaining({ code });

/** The socket file that a process killed with SIGKILL leaves behind. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('node:net').createServer().listen(process.argv[1], () => process.stdout.write('up'))`;
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('given a path in a directory that does not exist', () => {
  test('then the directory is made, for the owner alone', async () => {
    const path = join(directory, 'run', 'agent.sock');
    await claimSocketPath(path);
    expect(statSync(join(directory, 'run')).mode & 0o777).toBe(0o700);
  });
});

describe('given something at the path', () => {
  test('when it is a socket that nobody listens on, then it is removed', async () => {
    const path = join(directory, 'agent.sock');
    await leaveStaleSocket(path);
    expect(statSync(path).isSocket()).toBe(true);
    await claimSocketPath(path);
    expect(existsSync(path)).toBe(false);
  });

  test('when somebody listens on it, then it is left alone', async () => {
    const path = join(directory, 'agent.sock');
    const server = createServer().listen(path);
    await once(server, 'listening');
    await expect(claimSocketPath(path)).rejects.toEqual(refused('agent.running'));
    expect(statSync(path).isSocket()).toBe(true);
    server.close();
  });

  test.each([
    ['a file', (path: string) => writeFileSync(path, 'precious')],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a dangling link', (path: string) => symlinkSync('nowhere', path)],
  ])('when it is %s, then it is left alone', async (_, make) => {
    const path = join(directory, 'agent.sock');
    make(path);
    await expect(claimSocketPath(path)).rejects.toEqual(refused('config.invalid'));
    rmSync(path, { recursive: true });
    await claimSocketPath(path);
  });
});

describe('given a directory', () => {
  test.each([0o755, 0o710, 0o1777])(
    'when it is open to others (%o), then it is refused; closed, it is taken',
    async (mode) => {
      chmodSync(directory, mode);
      await expect(claimSocketPath(join(directory, 'agent.sock'))).rejects.toThrow(/open to others .*chmod 700/);
      chmodSync(directory, 0o700);
      await claimSocketPath(join(directory, 'agent.sock'));
    },
  );

  test('when the path is longer than the system allows, then the message says so; one octet shorter is taken', async () => {
    const filler = 103 - Buffer.byteLength(directory) - 1;
    await expect(claimSocketPath(join(directory, 'x'.repeat(filler + 1)))).rejects.toThrow(/longer than 103 octets/);
    await claimSocketPath(join(directory, 'x'.repeat(filler)));
  });
});
