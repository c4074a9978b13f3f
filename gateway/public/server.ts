/**
 * The public listener, plain HTTP: revocation list, trust links, CA certificates, health. All of it proves itself or is
 * no secret, so it also serves a device that can make no TLS connection any more (D§7).
 */
import { Buffer } from 'node:buffer';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { errorMessage } from '#schema/errors.ts';
import type { Log } from '#gateway/ports/log.ts';
import { DEFAULT_HTTP_LIMITS, listen, serverOptions, sourceOf, type HttpLimits, type Listener } from './listener.ts';
import { problemOf, RequestRefused } from './problem.ts';
import { resourceAt, type PublicSources, type Resource } from './resources.ts';

export interface PublicServerOptions extends PublicSources {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly log: Log;
  readonly limits?: Partial<HttpLimits>;
}

export interface PublicServer {
  readonly port: number;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
}

/** RFC 9110, 13: an entity tag decides alone where there is one. */
function isUnchanged(request: IncomingMessage, { etag, lastModified }: Resource): boolean {
  const { 'if-none-match': tags, 'if-modified-since': since } = request.headers;
  if (tags !== undefined) {
    return etag !== undefined && tags.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));
  }
  return since !== undefined && lastModified !== undefined && lastModified.getTime() <= Date.parse(since);
}

function answerWith(request: IncomingMessage, resource: Resource): Answer {
  const { status, type, body, etag, lastModified, cacheControl } = resource;
  const validators = {
    'Cache-Control': cacheControl,
    ...(etag === undefined ? {} : { ETag: etag }),
    ...(lastModified === undefined ? {} : { 'Last-Modified': lastModified.toUTCString() }),
  };
  if (isUnchanged(request, resource)) return { status: 304, headers: validators, body: undefined };
  return { status, headers: { 'Content-Type': type, 'Content-Length': String(body.length), ...validators }, body };
}

function problem(error: unknown): Answer {
  const document = problemOf(error);
  const body = Buffer.from(`${JSON.stringify(document)}\n`, 'utf8');
  return {
    status: document.status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Content-Length': String(body.length),
      ...(document.status === 405 ? { Allow: 'GET, HEAD' } : {}),
      ...(document.status === 503 ? { 'Retry-After': '10' } : {}),
    },
    body,
  };
}

async function answerTo(request: IncomingMessage, options: PublicServerOptions): Promise<Answer> {
  try {
    const { method = '', url = '' } = request;
    if (method !== 'GET' && method !== 'HEAD') throw new RequestRefused(405, 'this listener is for reading alone');
    return answerWith(request, await resourceAt(url.split('?', 1)[0] ?? '', options));
  } catch (error) {
    const answer = problem(error);
    const fields = { path: request.url?.slice(0, 64), status: answer.status, source: sourceOf(request.socket) };
    if (answer.status >= 500) options.log.warn({ ...fields, error: errorMessage(error) }, 'public request failed');
    else options.log.debug(fields, 'public request refused');
    return answer;
  }
}

/** Binds the port. Errors: `port.in-use`, `config.invalid`. */
export async function createPublicServer(options: PublicServerOptions): Promise<PublicServer> {
  const limits: HttpLimits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  let listener: Listener | undefined;
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, headers, body } = await answerTo(request, options);
    if (response.destroyed) return;
    response.writeHead(status, { ...headers, ...(listener?.draining === true ? { Connection: 'close' } : {}) });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  const server = createServer(serverOptions(limits), (request, response) => void handle(request, response));
  const bound = await listen(server, {
    host: options.host,
    port: options.port,
    limits,
    onFull: () =>
      options.log.warn({ maxConnections: limits.maxConnections }, 'public connection refused: too many connections'),
  });
  listener = bound;
  return { port: bound.port, close: () => bound.close() };
}
