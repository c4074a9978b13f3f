import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ROOT, runProgram } from './programs.ts';

const LAUNCHERS = [
  ['croupier', 'gateway/cli/main.ts'],
  ['croupier-agent', 'device-agent/main.ts'],
  ['croupier-sim', 'simulator/main.ts'],
] as const;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'croupier launch-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const bin = (name: string): string => path.join(ROOT, 'bin', name);

/** A repository with launchers alone, and an entry point that tells how it was started. */
function bareRepository(entry: string): string {
  const root = path.join(directory, 'a repo');
  cpSync(path.join(ROOT, 'bin'), path.join(root, 'bin'), { recursive: true });
  mkdirSync(path.dirname(path.join(root, entry)), { recursive: true });
  writeFileSync(
    path.join(root, entry),
    'const args: string[] = process.argv.slice(2);\nprocess.stdout.write(JSON.stringify({ args, pool: process.env["UV_THREADPOOL_SIZE"] }));\nprocess.exitCode = 7;\n',
  );
  return root;
}

/** A `node` that claims to be of another version. */
function fakeNode(version: string): string {
  const folder = path.join(directory, 'bin');
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'node'), `#!/bin/sh\necho ${version.split('.')[0] ?? ''}\n`);
  chmodSync(path.join(folder, 'node'), 0o755);
  return folder;
}

describe.each(LAUNCHERS)('bin/%s', (name, entry) => {
  test('it is executable, and its shell is a POSIX one that finds no fault with it', async () => {
    accessSync(bin(name), constants.X_OK);
    expect(readFileSync(bin(name), 'utf8')).toMatch(/^#!\/bin\/sh\n/);
    expect(await runProgram('/bin/sh', ['-n', bin(name)])).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  });

  test('given a Node that is new enough, then arguments arrive as they are and the exit code comes back', async () => {
    const root = bareRepository(entry);
    const args = ['a b', '*', '', '--x=$HOME', "it's"];
    const ended = await runProgram(path.join(root, 'bin', name), args, {
      PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin`,
    });
    expect(ended.exitCode).toBe(7);
    expect(JSON.parse(ended.stdout)).toEqual({ args, pool: '4' });
  });

  test('given a link to it and a thread pool of another size, then the repository is found and the size stays', async () => {
    const link = path.join(directory, 'linked');
    symlinkSync(path.join(bareRepository(entry), 'bin', name), link);
    const ended = await runProgram(link, [], {
      PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin`,
      UV_THREADPOOL_SIZE: '16',
    });
    expect(JSON.parse(ended.stdout)).toEqual({ args: [], pool: '16' });
  });

  test('given the pinned runtime, then it is taken before any other', async () => {
    const root = bareRepository(entry);
    mkdirSync(path.join(root, 'node_modules', '.bin'), { recursive: true });
    symlinkSync(process.execPath, path.join(root, 'node_modules', '.bin', 'node'));
    const ended = await runProgram(path.join(root, 'bin', name), [], { PATH: `${fakeNode('20.1.0')}:/usr/bin:/bin` });
    expect(ended.exitCode).toBe(7);
  });

  test.each([
    ['an old Node', () => fakeNode('20.11.1'), 'Node.js 20 cannot run Croupier, which needs 26 or newer'],
    ['no Node', () => path.join(directory, 'nothing'), 'there is no Node.js'],
  ])('given %s and no pinned runtime, then the error says what to run', async (_, place, message) => {
    const root = bareRepository(entry);
    const tools = path.join(directory, 'tools');
    mkdirSync(tools);
    for (const tool of ['sh', 'readlink']) symlinkSync(`/bin/${tool}`, path.join(tools, tool));
    const { exitCode, stdout, stderr } = await runProgram(path.join(root, 'bin', name), [], {
      PATH: `${place()}:${tools}`,
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toContain(`error: ${message}`);
    expect(stderr).toMatch(/what to do: Run npm start in .*\ncode: runtime\.unsupported\n$/);
  });
});

test.each([
  ['croupier', ['init', 'gateway', 'rotate', 'doctor']],
  ['croupier-agent', ['run', 'status']],
  ['croupier-sim', ['floor']],
])('given bin/%s --help, then it starts on plain node and says how it is used', async (name, commands) => {
  const { exitCode, stdout, stderr } = await runProgram(bin(name), ['--help']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toContain(`Usage: ${name}`);
  for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
});
