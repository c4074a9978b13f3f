/**
 * `GET /watch`: one JSON object a line, until either side ends it.
 *
 * The first line is `watching`; `resumed: false` tells the application to read everything anew. Then comes a
 * line `changed` for each commit, with all it changed and its generation, and a `heartbeat` in quiet times. Whoever is cut off asks again with the latest generation seen.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '#schema/runtime/clock.ts';
import type { ChangeFeed, FeedEntry } from './change-feed.ts';

export interface WatchOptions {
  readonly feed: ChangeFeed;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  /** Octets that a reader may leave unread before it is cut off. */
  readonly maxUnread: number;
}

/** Streams until the connection closes; returns what ends it from this side. */
export function startWatch(response: ServerResponse, after: number | undefined, options: WatchOptions): () => void {
  const { feed, clock } = options;
  let cancelHeartbeat = (): void => undefined;

  const send = (line: object): void => {
    response.write(`${JSON.stringify(line)}\n`);
    if (response.writableLength > options.maxUnread) response.destroy();
  };
  const beat = (): void => {
    cancelHeartbeat();
    cancelHeartbeat = clock.after(options.heartbeatMs, () => {
      send({ kind: 'heartbeat', generation: feed.generation });
      beat();
    });
  };
  const sendChange = ({ generation, changes }: FeedEntry): void => {
    send({ kind: 'changed', generation, changes });
    beat();
  };

  response.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  const subscription = feed.subscribe(after, sendChange);
  response.once('close', () => {
    cancelHeartbeat();
    subscription.end();
  });
  const resumed = subscription.missed !== undefined;
  send({ kind: 'watching', generation: resumed ? after : feed.generation, resumed });
  for (const entry of subscription.missed ?? []) sendChange(entry);
  beat();
  return () => {
    cancelHeartbeat();
    subscription.end();
    response.end();
  };
}
