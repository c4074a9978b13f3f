/**
 * The message emitter behind aedes, for exact topics only. Devices may subscribe to nothing with a wildcard, so the
 * general trie, its per-topic nodes and its concurrency limit (which lets one frozen subscriber hold up all others) are
 * not needed: a map from topic to subscribers is smaller, faster and cannot stall.
 */
import type { AedesPublishPacket } from 'aedes';

export type Deliver = (packet: AedesPublishPacket, done: () => void) => void;
type Done = (error?: Error | null) => void;

/** Subscribers served in one turn of the event loop, so that a broadcast holds up nobody's report. */
const BROADCAST_SLICE = 128;

const nothing = (): void => {};

export class TopicTable {
  private readonly subscribers = new Map<string, Deliver | Set<Deliver>>();
  closed = false;
  /** Both are read by aedes' documented emitter interface; here nothing is ever queued. */
  readonly concurrency = 0;
  readonly current = 0;

  on(topic: string, deliver: Deliver, done?: Done): this {
    const present = this.subscribers.get(topic);
    if (present === undefined) this.subscribers.set(topic, deliver);
    else if (present instanceof Set) present.add(deliver);
    else this.subscribers.set(topic, new Set([present, deliver]));
    if (done !== undefined) setImmediate(done);
    return this;
  }

  removeListener(topic: string, deliver: Deliver, done?: Done): this {
    const present = this.subscribers.get(topic);
    if (present === deliver) this.subscribers.delete(topic);
    else if (present instanceof Set && present.delete(deliver) && present.size === 0) this.subscribers.delete(topic);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  /** Starts delivery to every subscriber and answers when it has started; never waits for a slow one. */
  emit(packet: AedesPublishPacket, done: Done = nothing): this {
    const subscribers = this.closed ? undefined : this.subscribers.get(packet.topic);
    if (subscribers instanceof Set) {
      this.broadcast([...subscribers], 0, packet, done);
      return this;
    }
    subscribers?.(packet, nothing);
    setImmediate(done);
    return this;
  }

  close(done: Done): this {
    this.closed = true;
    this.subscribers.clear();
    setImmediate(done);
    return this;
  }

  has(topic: string): boolean {
    return this.subscribers.has(topic);
  }

  private broadcast(all: readonly Deliver[], from: number, packet: AedesPublishPacket, done: Done): void {
    for (const deliver of all.slice(from, from + BROADCAST_SLICE)) deliver(packet, nothing);
    const next = from + BROADCAST_SLICE;
    if (next < all.length && !this.closed) setImmediate(() => this.broadcast(all, next, packet, done));
    else setImmediate(done);
  }
}
