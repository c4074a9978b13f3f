/** A feed of what happens, inside one process: for people who look on, never for what must not be missed. */
import { randomBytes } from 'node:crypto';
import type { GatewayEvent } from '#schema/api/views.ts';

export interface FeedEntry {
  /** Names the feed and the place in it, so that a reader can say where it stopped. */
  readonly id: string;
  readonly event: GatewayEvent;
}

export type FeedReader = (entry: FeedEntry) => void;

export interface EventFeed {
  publish(event: GatewayEvent): void;
  /** Calls back on every event from now on; returns what ends it. The reader must neither block nor throw. */
  subscribe(reader: FeedReader): () => void;
  /**
   * Events after the one of this id. When some of them are forgotten, or the id is of another feed (the gateway was
   * started anew), a `gap` comes first.
   */
  since(id: string): readonly FeedEntry[];
}

const KEPT = 512;

export function createEventFeed(kept: number = KEPT): EventFeed {
  const feed = randomBytes(4).toString('hex');
  const readers = new Set<FeedReader>();
  const recent: FeedEntry[] = [];
  let last = 0;

  const positionOf = (id: string): number | undefined => {
    const [name, number = ''] = id.split('-', 2);
    return name === feed && /^\d{1,15}$/.test(number) ? Number(number) : undefined;
  };

  return {
    publish(event) {
      last += 1;
      const entry = { id: `${feed}-${last}`, event };
      recent.push(entry);
      if (recent.length > kept) recent.shift();
      for (const reader of readers) reader(entry);
    },
    subscribe(reader) {
      readers.add(reader);
      return () => readers.delete(reader);
    },
    since(id) {
      const position = positionOf(id);
      const missed = position === undefined ? undefined : Math.max(0, last - position);
      if (missed === 0) return [];
      if (missed !== undefined && missed <= recent.length) return recent.slice(-missed);
      const dropped = missed === undefined ? null : missed - recent.length;
      return [{ id: `${feed}-${last - recent.length}`, event: { type: 'gap', dropped } }, ...recent];
    },
  };
}
