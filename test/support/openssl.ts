/** The openssl command, as an independent judge of what we encode. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface OpensslOutcome {
  readonly status: number | null;
  /** stdout and stderr. */
  readonly output: string;
}

/** A directory of its own, in which files are written and openssl runs. */
export class OpensslWorkspace {
  readonly directory = mkdtempSync(join(tmpdir(), 'croupier-openssl-'));

  write(name: string, content: string | Uint8Array): string {
    const path = join(this.directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** `command` is split at spaces; `more` follows as it stands. */
  run(command: string, ...more: readonly string[]): OpensslOutcome {
    const args = [...command.trim().split(/\s+/), ...more];
    const done = spawnSync('openssl', args, { cwd: this.directory, encoding: 'utf8', input: '' });
    if (done.error !== undefined) throw done.error;
    return { status: done.status, output: `${done.stdout}${done.stderr}` };
  }

  /** Like `run`, but failure is an error that shows what openssl said. */
  succeed(command: string, ...more: readonly string[]): string {
    const { status, output } = this.run(command, ...more);
    if (status !== 0) throw new Error(`openssl ${command} ${more.join(' ')} failed: ${output}`);
    return output;
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
