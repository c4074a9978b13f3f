/** The latest changes of the agent, kept in memory so that a watch that was cut can go on where it stopped. */
import type { AgentChange, AgentView } from '../view.ts';

/** Everything that one commit of the agent changed. */
export interface FeedEntry {
  readonly generation: number;
  readonly changes: readonly AgentChange[];
}

export interface FeedSubscription {
  /** Changes after the generation asked for; undefined when they are no longer known, and all must be read anew. */
  readonly missed: readonly FeedEntry[] | undefined;
  end(): void;
}

export class ChangeFeed {
  readonly #view: AgentView;
  readonly #capacity: number;
  readonly #listeners = new Set<(entry: FeedEntry) => void>();
  readonly #unsubscribe: () => void;
  #entries: readonly FeedEntry[] = [];
  /** Told by the agent, one after the other, and not yet an entry. */
  #gathering: { readonly generation: number; readonly changes: AgentChange[] } | undefined;
  /** Changes up to this generation are not kept. */
  #forgotten: number;

  constructor(view: AgentView, capacity = 256) {
    this.#view = view;
    this.#capacity = capacity;
    this.#forgotten = view.generation();
    this.#unsubscribe = view.onChange((change, generation) => this.#gather(change, generation));
  }

  get generation(): number {
    return this.#view.generation();
  }

  /** Nothing falls between `missed` and the first call of the listener. */
  subscribe(after: number | undefined, listener: (entry: FeedEntry) => void): FeedSubscription {
    this.#flush();
    this.#listeners.add(listener);
    return { missed: this.#since(after), end: () => void this.#listeners.delete(listener) };
  }

  close(): void {
    this.#unsubscribe();
    this.#listeners.clear();
  }

  #since(after: number | undefined): readonly FeedEntry[] | undefined {
    if (after === undefined || after < this.#forgotten || after > this.generation) return undefined;
    return this.#entries.filter((entry) => entry.generation > after);
  }

  /** The agent tells all changes of a commit in one go: whoever resumes after a generation has seen all of it. */
  #gather(change: AgentChange, generation: number): void {
    if (this.#gathering?.generation === generation) return void this.#gathering.changes.push(change);
    this.#flush();
    this.#gathering = { generation, changes: [change] };
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const entry = this.#gathering;
    this.#gathering = undefined;
    if (entry !== undefined) this.#append(entry);
  }

  #append(entry: FeedEntry): void {
    const dropped = this.#entries.length === this.#capacity ? this.#entries[0] : undefined;
    if (dropped !== undefined) this.#forgotten = dropped.generation;
    this.#entries = [...this.#entries, entry].slice(-this.#capacity);
    for (const listener of this.#listeners) listener(entry);
  }
}
