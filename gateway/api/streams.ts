/** Routes that answer with a stream or with text. */
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { exportAudit, type AuditExportPorts } from '#gateway/audit/export.ts';
import { actorOf } from '#gateway/operators/approval.ts';
import type { EventFeed } from './events.ts';
import type { EventStreams } from './event-stream.ts';
import type { RolloutWatch } from './rollout-watch.ts';
import type { StreamHandlers } from './routes.ts';

export interface StreamPorts {
  readonly feed: EventFeed;
  readonly streams: EventStreams;
  readonly rollouts: RolloutWatch;
  readonly metrics: () => Promise<string>;
  readonly auditExport: AuditExportPorts;
}

/** Where the reader of a stream stopped (WHATWG HTML, 9.2.4). */
function lastEventId(reply: FastifyReply): string | undefined {
  const value = reply.request.headers['last-event-id'];
  return typeof value === 'string' ? value : undefined;
}

export function streamHandlers({ feed, streams, rollouts, metrics, auditExport }: StreamPorts): StreamHandlers {
  return {
    'events.watch': async (_, reply) => {
      let unsubscribe = (): void => {};
      const stream = streams.open(reply.raw, () => unsubscribe());
      reply.hijack();
      const from = lastEventId(reply);
      for (const { id, event } of from === undefined ? [] : feed.since(from)) stream.send(event.type, event, id);
      unsubscribe = feed.subscribe(({ id, event }) => stream.send(event.type, event, id));
    },

    'rollout.watch': async ({ params: { id } }, reply) => {
      await rollouts.requireRollout(id);
      let unwatch = (): void => {};
      const stream = streams.open(reply.raw, () => unwatch());
      reply.hijack();
      unwatch = rollouts.watch(id, (view) => {
        stream.send('rollout', view);
        if (view.finishedAt !== null) stream.end();
      });
    },

    'metrics.show': async (_, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await metrics()),

    'audit.export': async ({ query: { first } }, reply, operator) => {
      const { store, clock } = auditExport;
      const details = { first };
      await store.appendAudit(
        [{ action: 'audit.export', outcome: 'success', actor: actorOf(operator), details }],
        clock.now(),
      );
      const lines = exportAudit(auditExport, first);
      const text = async function* (): AsyncGenerator<string> {
        for await (const line of lines) yield `${canonicalJson(line)}\n`;
      };
      return reply
        .type('application/jsonl; charset=utf-8')
        .send(Readable.from(text(), { objectMode: false, highWaterMark: 64 * 1024 }));
    },
  };
}
