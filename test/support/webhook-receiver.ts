/** A real HTTP or HTTPS server that takes what webhooks post, and answers as the test says. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import { waitUntil } from './wait-until.ts';

const Payload = z.looseObject({ type: z.string(), timestamp: z.string(), id: z.string(), seq: z.int() });

export interface Delivery {
  readonly headers: IncomingMessage['headers'];
  /** As it came, byte by byte. */
  readonly body: string;
  readonly payload: z.infer<typeof Payload>;
}

type Answer = (response: ServerResponse, delivery: Delivery) => void;

export interface Receiver {
  readonly url: string;
  readonly deliveries: Delivery[];
  /** How many TCP connections were made. */
  readonly connections: () => number;
  /** Numbers of the audit records, in the order in which they came. */
  seqs(): readonly number[];
  /** From now on every delivery is answered like this. */
  answer(by: Answer): void;
  /** Waits until so many have come. */
  received(count: number): Promise<readonly Delivery[]>;
  /** Ends idle connections, as a server does that saves memory. */
  dropIdle(): void;
  close(): Promise<void>;
}

export const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  (response) =>
    void response.writeHead(code, headers).end();

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export async function startReceiver(
  options: { readonly tls?: { readonly key: string; readonly cert: string }; readonly port?: number } = {},
): Promise<Receiver> {
  const deliveries: Delivery[] = [];
  let answer: Answer = status(204);
  let connections = 0;
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await textOf(request);
    const delivery = { headers: request.headers, body, payload: Payload.parse(JSON.parse(body)) };
    deliveries.push(delivery);
    answer(response, delivery);
  };
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    take(request, response).catch(() => response.destroy());
  };
  const server =
    options.tls === undefined
      ? http.createServer({ keepAliveTimeout: 0 }, handler)
      : https.createServer({ ...options.tls, keepAliveTimeout: 0 }, handler);
  server.on('connection', () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/hook`,
    deliveries,
    connections: () => connections,
    seqs: () => deliveries.map(({ payload }) => payload.seq),
    answer: (by) => {
      answer = by;
    },
    received: (count) =>
      waitUntil(
        () => deliveries.length >= count && deliveries.slice(0, count),
        () => `${count} deliveries; ${deliveries.length} came`,
      ),
    dropIdle: () => server.closeIdleConnections(),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
