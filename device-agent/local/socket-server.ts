/**
 * The agent's HTTP interface on a Unix socket, for applications of the same user: socket 0600 in a directory 0700, no
 * authentication beyond the file system. What it answers is in `routes.ts`; docs/agent.md shows every request.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AgentView } from '../view.ts';
import type { BusyLeases } from './busy-leases.ts';
import { ChangeFeed } from './change-feed.ts';
import type { Log } from '../log.ts';
import { PROBLEM_TYPE, problemDocument, RequestRefused } from './problem.ts';
import { answer, type LocalContext } from './routes.ts';
import { claimSocketPath, listenPrivately } from './socket-path.ts';
import { startWatch } from './watch.ts';

export interface SocketLimits {
  readonly maxHeaderOctets: number;
  readonly maxBodyOctets: number;
  readonly maxConnections: number;
  /** Fewer than connections, so that watches never shut out other requests. */
  readonly maxWatches: number;
  readonly maxUnreadWatchOctets: number;
  /** For one whole request to arrive. */
  readonly requestTimeoutMs: number;
  readonly heartbeatMs: number;
}

export const DEFAULT_SOCKET_LIMITS: SocketLimits = {
  maxHeaderOctets: 8 * 1024,
  maxBodyOctets: 4 * 1024,
  maxConnections: 64,
  maxWatches: 32,
  maxUnreadWatchOctets: 256 * 1024,
  requestTimeoutMs: 10_000,
  heartbeatMs: 15_000,
};

export interface SocketServerOptions {
  readonly path: string;
  readonly view: AgentView;
  readonly busy: BusyLeases;
  readonly clock: Clock;
  readonly log: Log;
  readonly identityKeyFile?: string | undefined;
  readonly connection?: (() => Readonly<Record<string, unknown>>) | undefined;
  readonly limits?: Partial<SocketLimits>;
}

export interface SocketServer {
  readonly path: string;
  /** Ends watches, lets answers under way finish, removes the socket. */
  close(): Promise<void>;
}

/** Errors: as `claimSocketPath`. On return the socket takes connections. */
export async function startSocketServer(options: SocketServerOptions): Promise<SocketServer> {
  const { path, view, busy, clock, log, identityKeyFile, connection } = options;
  const limits = { ...DEFAULT_SOCKET_LIMITS, ...options.limits };
  await claimSocketPath(path);

  const context: LocalContext = { view, busy, clock, identityKeyFile, connection };
  const feed = new ChangeFeed(view);
  const watches = new Set<() => void>();

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = parseTarget(request.url ?? '');
    const body = await readBody(request, limits.maxBodyOctets);
    const result = answer(context, { method: request.method ?? '', ...url, body });
    if (result.kind === 'document') return sendJson(response, result.status, result.document);
    if (watches.size >= limits.maxWatches)
      throw new RequestRefused(503, `there are ${limits.maxWatches} watches already; close one`);
    const { heartbeatMs, maxUnreadWatchOctets: maxUnread } = limits;
    const end = startWatch(response, result.after, { feed, clock, heartbeatMs, maxUnread });
    watches.add(end);
    response.once('close', () => watches.delete(end));
  };

  const server = createServer(
    {
      maxHeaderSize: limits.maxHeaderOctets,
      requestTimeout: limits.requestTimeoutMs,
      headersTimeout: limits.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(limits.requestTimeoutMs, 5_000),
      keepAliveTimeout: 30_000,
    },
    (request, response) => {
      serve(request, response).catch((error: unknown) => refuse(request, response, error, log));
    },
  );
  server.maxConnections = limits.maxConnections;
  server.on('drop', () => log.warn({ limit: limits.maxConnections }, 'connection to the socket dropped: too many'));
  server.on('clientError', answerUnreadable);
  await listenPrivately(server, path);
  log.info({ socket: path }, 'applications are served');

  return {
    path,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const end of watches) end();
      feed.close();
      server.closeIdleConnections();
      const cancel = clock.after(1_000, () => server.closeAllConnections());
      await closed;
      cancel();
    },
  };
}

function parseTarget(target: string): { path: string[]; query: Record<string, string> } {
  let url: URL;
  try {
    url = new URL(target, 'http://agent');
    const path = url.pathname.split('/').slice(1).map(decodeURIComponent);
    return { path, query: Object.fromEntries(url.searchParams) };
  } catch {
    throw new RequestRefused(400, 'the request target is not a path');
  }
}

async function readBody(request: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > limit) throw new CroupierError('input.too-large', `the body exceeds ${limit} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function sendJson(response: ServerResponse, status: number, document: object, type = 'application/json'): void {
  const body = Buffer.from(`${JSON.stringify(document)}\n`);
  response.writeHead(status, { 'content-type': type, 'content-length': body.length, 'cache-control': 'no-store' });
  response.end(body);
}

function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, log: Log): void {
  const problem = problemDocument(error);
  const about = { method: request.method, path: request.url?.split('?')[0]?.slice(0, 200), code: errorCode(error) };
  if (problem.status === 500) log.error({ ...about, reason: errorMessage(error) }, 'request on the socket failed');
  else log.debug({ ...about, reason: errorMessage(error) }, 'request on the socket refused');
  if (response.headersSent || response.destroyed) return void response.destroy();
  // What is unread of the request would be taken for the next one.
  if (!request.complete) response.setHeader('connection', 'close');
  sendJson(response, problem.status, problem, PROBLEM_TYPE);
}

const UNREADABLE: Readonly<
  Record<string, { readonly status: number; readonly phrase: string; readonly detail: string }>
> = {
  HPE_HEADER_OVERFLOW: { status: 431, phrase: 'Request Header Fields Too Large', detail: 'the header is too large' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, phrase: 'Request Timeout', detail: 'the request did not arrive in time' },
};

/** A request that the HTTP parser gave up on has no response object: the answer is written by hand. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const { status, phrase, detail } = UNREADABLE[error.code ?? ''] ?? {
    status: 400,
    phrase: 'Bad Request',
    detail: 'this is not an HTTP request',
  };
  const body = `${JSON.stringify(problemDocument(new RequestRefused(status, detail)))}\n`;
  const head = [
    `HTTP/1.1 ${status} ${phrase}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join('\r\n')}\r\nconnection: close\r\n\r\n${body}`);
}
