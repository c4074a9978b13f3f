/**
 * The exported directory, for programs that read files:
 *
 *     DIR/current -> generation-12-1f0c9a3b   the one link that a change moves
 *     DIR/generation-12-1f0c9a3b/             identity.crt, chain.pem, identity.key, trust/, keys/, agent.json
 *
 * A change writes a whole new generation, makes it durable, moves the link by rename, then erases the generation
 * before: a reader sees all of a change or nothing of it. Key files are overwritten before they are removed.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readdir, readlink, rename, rm, statfs, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AgentView } from '../view.ts';
import { exportedGeneration, IDENTITY_KEY_FILE, type ExportedGeneration } from './exported-files.ts';
import type { Log } from '../log.ts';
import { ensurePrivateDirectory, syncDirectory, writeNewFile } from './private-directory.ts';

/** Where clear working keys may be written: only to file systems in memory, anywhere, or nowhere. */
export const EXPORT_KEYS = ['memory', 'always', 'never'] as const;
export type ExportKeys = (typeof EXPORT_KEYS)[number];

export interface ExporterOptions {
  readonly directory: string;
  readonly view: AgentView;
  readonly clock: Clock;
  readonly log: Log;
  readonly workingKeys?: ExportKeys;
}

const CURRENT = 'current';
const GENERATION = /^generation-\d+-[0-9a-f]{8}$/;
const SECRET_FILE = /\.key$/;
const RETRY_MS = { first: 1_000, last: 60_000 };

/** `f_type` of statfs(2). */
const MEMORY_FILE_SYSTEMS: ReadonlySet<number> = new Set([0x01021994 /* tmpfs */, 0x858458f6 /* ramfs */]);

export class Exporter {
  /** `DIR/current`. */
  readonly currentDirectory: string;
  readonly #options: ExporterOptions;
  readonly #directory: string;
  readonly #withKeys: boolean;
  readonly #unsubscribe: () => void;
  #exported = -1;
  /** Generation of the latest change; the agent also counts commits that change nothing here. */
  #changed: number;
  #waiting: { readonly generation: number; readonly resolve: () => void }[] = [];
  #writing: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;
  #retryMs = RETRY_MS.first;
  #closed = false;

  /**
   * Exports what the agent holds now, and from then on each change.
   * Errors: `config.invalid` for a directory that is open to others or holds another `current`, or when the first
   * export fails.
   */
  static async start(options: ExporterOptions): Promise<Exporter> {
    const directory = resolve(options.directory);
    await ensurePrivateDirectory(directory, 'the export directory');
    const current = await lstat(join(directory, CURRENT)).catch(() => undefined);
    if (current !== undefined && !current.isSymbolicLink()) {
      throw new CroupierError(
        'config.invalid',
        `${join(directory, CURRENT)} is not a link of this agent; export into another directory`,
      );
    }
    const exporter = new Exporter(options, directory, await mayWriteKeys(directory, options));
    try {
      await (exporter.#writing = exporter.#write());
    } catch (error) {
      exporter.#writing = undefined;
      await exporter.close();
      throw new CroupierError('config.invalid', `the export into ${directory} failed: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    exporter.#writing = undefined;
    if (exporter.#exported < exporter.#changed) exporter.#wake();
    return exporter;
  }

  private constructor(options: ExporterOptions, directory: string, withKeys: boolean) {
    this.#options = options;
    this.#directory = directory;
    this.#withKeys = withKeys;
    this.currentDirectory = join(directory, CURRENT);
    this.#changed = options.view.generation();
    this.#unsubscribe = options.view.onChange((_, generation) => {
      this.#changed = generation;
      this.#wake();
    });
  }

  get identityKeyFile(): string {
    return join(this.currentDirectory, IDENTITY_KEY_FILE);
  }

  /** Resolves when the files show the latest change, or when the exporter is closed. */
  settled(): Promise<void> {
    const generation = this.#changed;
    if (this.#closed || this.#exported >= generation) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ generation, resolve }));
  }

  /** Leaves the files as they are. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    await this.#writing;
    this.#cancelRetry?.();
    this.#release(Number.POSITIVE_INFINITY);
  }

  /** One write at a time; changes during a write cause one more. */
  #wake(): void {
    if (this.#closed || this.#writing !== undefined) return;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#writing = this.#writeOrRetry().finally(() => {
      this.#writing = undefined;
      if (this.#cancelRetry === undefined && this.#exported < this.#changed) this.#wake();
    });
  }

  async #writeOrRetry(): Promise<void> {
    try {
      await this.#write();
      this.#retryMs = RETRY_MS.first;
    } catch (error) {
      this.#options.log.error(
        { reason: errorMessage(error), retryMs: this.#retryMs },
        'export failed; the files before stay',
      );
      this.#cancelRetry = this.#options.clock.after(this.#retryMs, () => this.#wake());
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.last);
    }
  }

  async #write(): Promise<void> {
    const content = exportedGeneration(this.#options.view, this.#withKeys);
    const name = `generation-${content.generation}-${randomBytes(4).toString('hex')}`;
    try {
      await writeGeneration(join(this.#directory, name), content);
      await switchLink(this.#directory, name);
    } catch (error) {
      await eraseTree(join(this.#directory, name)).catch(() => undefined);
      throw error;
    } finally {
      for (const file of content.files) if (typeof file.content !== 'string') file.content.fill(0);
    }
    this.#exported = content.generation;
    this.#release(content.generation);
    await eraseOtherGenerations(this.#directory);
    this.#options.log.debug({ generation: content.generation, files: content.files.length }, 'exported');
  }

  #release(generation: number): void {
    const ready = this.#waiting.filter((waiter) => waiter.generation <= generation);
    this.#waiting = this.#waiting.filter((waiter) => waiter.generation > generation);
    for (const waiter of ready) waiter.resolve();
  }
}

async function mayWriteKeys(directory: string, { workingKeys = 'memory', log }: ExporterOptions): Promise<boolean> {
  if (workingKeys !== 'memory') return workingKeys === 'always';
  const { type } = await statfs(directory);
  if (MEMORY_FILE_SYSTEMS.has(type)) return true;
  log.warn(
    { directory },
    'working keys are not exported: the directory is on a disk; use one under /run, or --export-keys always',
  );
  return false;
}

async function writeGeneration(root: string, { files, links }: ExportedGeneration): Promise<void> {
  const directories = new Set([root]);
  for (const { path } of files) {
    for (let parent = dirname(join(root, path)); parent.length > root.length; parent = dirname(parent))
      directories.add(parent);
  }
  for (const directory of directories) await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const { path, content } of files) await writeNewFile(join(root, path), content);
  for (const { path, target } of links) await symlink(target, join(root, path));
  for (const directory of directories) await syncDirectory(directory);
}

async function switchLink(directory: string, name: string): Promise<void> {
  const fresh = join(directory, `${CURRENT}.new`);
  await rm(fresh, { force: true });
  await symlink(name, fresh);
  await rename(fresh, join(directory, CURRENT));
  await syncDirectory(directory);
}

/** Removes generations that `current` does not name: the one before, and what a crash left. */
async function eraseOtherGenerations(directory: string): Promise<void> {
  const current = await readlink(join(directory, CURRENT));
  for (const name of await readdir(directory)) {
    if (name !== current && GENERATION.test(name)) await eraseTree(join(directory, name));
  }
  await syncDirectory(directory);
}

/** Overwrites the key files below, then removes all. On journalling or flash file systems old blocks may survive. */
async function eraseTree(root: string): Promise<void> {
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !SECRET_FILE.test(entry.name)) continue;
    const file = await open(join(entry.parentPath, entry.name), 'r+');
    try {
      const { size } = await file.stat();
      await file.write(new Uint8Array(size), 0, size, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await rm(root, { recursive: true, force: true });
}
