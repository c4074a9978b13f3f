/**
 * `--on-change COMMAND`: tells programs that cannot watch a socket. The command runs through `sh -c` after a change is
 * durable (and exported), one run at a time; what changes meanwhile is gathered into the next run. The environment
 * says what changed, never a key.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AgentChange, AgentView } from '../view.ts';
import type { Log } from '../log.ts';

export interface ChangeHookOptions {
  readonly command: string;
  readonly view: AgentView;
  readonly clock: Clock;
  readonly log: Log;
  /** Added to the environment of the agent, for example where the socket is. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Waited for before each run: the exported files show the change. */
  readonly ready?: () => Promise<void>;
  /** How long changes are gathered before a run. */
  readonly settleMs?: number;
  readonly timeoutMs?: number;
  /** Between SIGTERM and SIGKILL. */
  readonly killAfterMs?: number;
}

const STDERR_TAIL = 2_048;

/** What a run is told, as environment variables. */
export function hookEnvironment(view: AgentView, changes: readonly AgentChange[]): Record<string, string> {
  const identity = view.identity();
  const keySets = changes.flatMap((change) => (change.kind === 'keyring' ? [change.keySet] : []));
  const kinds = [...new Set(changes.map(({ kind }) => kind))];
  return {
    CROUPIER_CHANGES: kinds.length === 0 ? 'start' : kinds.join(' '),
    CROUPIER_KEY_SETS: keySets.join(' '),
    CROUPIER_GENERATION: String(view.generation()),
    CROUPIER_REALM: identity?.realm ?? '',
    CROUPIER_DEVICE: identity?.device ?? '',
    CROUPIER_SERIAL: identity?.serial ?? '',
    CROUPIER_TRUST_VERSION: String(view.trust()?.version ?? 0),
    CROUPIER_DETAILS: JSON.stringify(changes),
  };
}

/** Of several changes of the same thing only the latest counts. */
const subject = (change: AgentChange): string => (change.kind === 'keyring' ? `keyring ${change.keySet}` : change.kind);

export class ChangeHook {
  readonly #options: Required<ChangeHookOptions>;
  readonly #unsubscribe: () => void;
  readonly #pending = new Map<string, AgentChange>();
  #wanted = false;
  #cancelTimer: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #child: ChildProcess | undefined;
  #closed = false;

  constructor(options: ChangeHookOptions) {
    this.#options = {
      environment: {},
      ready: async () => undefined,
      settleMs: 200,
      timeoutMs: 60_000,
      killAfterMs: 5_000,
      ...options,
    };
    this.#unsubscribe = options.view.onChange((change) => {
      this.#pending.delete(subject(change));
      this.#pending.set(subject(change), change);
      this.trigger();
    });
  }

  /** Asks for a run, also without a change (at start: what changed just before a power cut may not have been told). */
  trigger(): void {
    this.#wanted = true;
    if (this.#closed || this.#running !== undefined || this.#cancelTimer !== undefined) return;
    this.#cancelTimer = this.#options.clock.after(this.#options.settleMs, () => {
      this.#cancelTimer = undefined;
      this.#running = this.#run()
        .catch((error: unknown) => this.#options.log.error({ reason: errorMessage(error) }, 'hook cannot run'))
        .finally(() => {
          this.#running = undefined;
          if (this.#wanted) this.trigger();
        });
    });
  }

  /** Starts no more runs, and stops the one under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#cancelTimer?.();
    if (this.#child !== undefined) this.#stop(this.#child);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { command, view, log, environment, ready } = this.#options;
    const changes = [...this.#pending.values()];
    this.#pending.clear();
    this.#wanted = false;
    await ready();
    if (this.#closed) return;
    const env = { ...process.env, ...environment, ...hookEnvironment(view, changes) };
    const outcome = await this.#execute(command, env);
    const about = { changes: env['CROUPIER_CHANGES'], generation: view.generation(), ...outcome };
    if (outcome.exitCode === 0) log.info(about, 'hook ran');
    else log.error(about, 'hook failed; it runs again at the next change');
  }

  async #execute(command: string, env: NodeJS.ProcessEnv): Promise<HookOutcome> {
    const { clock, timeoutMs } = this.#options;
    // A process group of its own, so that a timeout reaches what the command started.
    const child = spawn('sh', ['-c', command], { env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    let tail = Buffer.alloc(0);
    child.stderr.on('data', (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk]).subarray(-STDERR_TAIL);
    });
    let timedOut = false;
    const cancelTimeout = clock.after(timeoutMs, () => {
      timedOut = true;
      this.#stop(child);
    });
    const ended = await exitOf(child);
    cancelTimeout();
    await drained(child, clock);
    this.#child = undefined;
    return { ...ended, ...(timedOut ? { timedOut } : {}), stderr: tail.toString('utf8').trimEnd() };
  }

  #stop(child: ChildProcess): void {
    signalGroup(child, 'SIGTERM');
    this.#options.clock.after(this.#options.killAfterMs, () => {
      if (child.exitCode === null && child.signalCode === null) signalGroup(child, 'SIGKILL');
    });
  }
}

interface HookOutcome {
  readonly exitCode: number | null;
  readonly signal?: string;
  readonly timedOut?: boolean;
  readonly stderr: string;
}

function exitOf(child: ChildProcess): Promise<Omit<HookOutcome, 'stderr'>> {
  return new Promise((resolve) => {
    child.once('exit', (exitCode, signal) => resolve({ exitCode, ...(signal === null ? {} : { signal }) }));
    child.once('error', (error) => resolve({ exitCode: null, signal: errorMessage(error) }));
  });
}

/** A background process of the command may keep stderr open for ever; it is read a moment longer, then left. */
function drained(child: ChildProcess, clock: Clock): Promise<void> {
  const { stderr } = child;
  if (stderr === null || stderr.closed) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.after(500, () => stderr.destroy());
    stderr.once('close', () => {
      cancel();
      resolve();
    });
  });
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has just ended.
  }
}
