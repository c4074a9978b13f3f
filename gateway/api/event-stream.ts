/** Server-Sent Events (WHATWG HTML, 9.2) over a plain response: heartbeats, a bounded number, slow readers dropped. */
import type { ServerResponse } from 'node:http';
import { CroupierError } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { SECURITY_HEADERS } from './headers.ts';
import type { ApiLimits } from './limits.ts';

export interface EventStream {
  /** `data` must not hold line breaks other than inside JSON strings. Does nothing once the stream has ended. */
  send(event: string, data: unknown, id?: string): void;
  /** Ends the stream after what was sent. */
  end(): void;
  readonly ended: boolean;
}

export interface EventStreams {
  /**
   * Answers with a stream. `onEnd` is called once, whoever ended it. Errors: `operator.rate-limited` when there are too
   * many streams.
   */
  open(response: ServerResponse, onEnd: () => void): EventStream;
  readonly size: number;
  closeAll(): void;
}

export function createEventStreams(
  clock: Clock,
  limits: Pick<ApiLimits, 'streams' | 'streamBufferBytes' | 'heartbeatMs'>,
): EventStreams {
  const open = new Set<EventStream>();

  const start = (response: ServerResponse, onEnd: () => void): EventStream => {
    let ended = false;
    let cancelHeartbeat = (): void => {};

    const write = (text: string): void => {
      if (ended) return;
      // A reader that is behind is dropped, not waited for: it connects again and says where it stopped.
      if (response.writableLength > limits.streamBufferBytes) response.destroy();
      else response.write(text);
    };
    const beat = (): void => {
      write(': still here\n\n');
      cancelHeartbeat = clock.after(limits.heartbeatMs, beat);
    };
    const stream: EventStream = {
      send: (event, data, id) => {
        write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      },
      end: () => {
        if (!ended) response.end();
      },
      get ended() {
        return ended;
      },
    };
    response.on('error', () => {});
    response.once('close', () => {
      ended = true;
      cancelHeartbeat();
      open.delete(stream);
      onEnd();
    });
    response.writeHead(200, {
      ...SECURITY_HEADERS,
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
    cancelHeartbeat = clock.after(limits.heartbeatMs, beat);
    open.add(stream);
    return stream;
  };

  return {
    open: (response, onEnd) => {
      if (open.size >= limits.streams) {
        throw new CroupierError('operator.rate-limited', `there are ${open.size} event streams already`, {
          retryAfter: 10,
        });
      }
      return start(response, onEnd);
    },
    get size() {
      return open.size;
    },
    closeAll: () => {
      for (const stream of open) stream.end();
    },
  };
}
