/** One bounded HTTP exchange: a request, and an answer that is read whole, with limits on time and size. */
import { Buffer } from 'node:buffer';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import { asCroupierError, CroupierError, errorMessage } from '#schema/errors.ts';

export interface HttpExchange {
  readonly url: URL;
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** A connection that is open already (TLS included); else a plain one is made. */
  readonly socket?: Socket;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  /** Ends the exchange. */
  readonly signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Errors: `network.unreachable`, `network.timeout`, `input.too-large`. Redirects are not followed. */
export async function exchange(options: HttpExchange): Promise<HttpAnswer> {
  const { url, method, headers = {}, body, socket, timeoutMs, maxBytes, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const fail = (error: unknown): void => {
    const message = `no answer from ${url.host}: ${errorMessage(error)}`;
    reject(asCroupierError(error, 'network.unreachable', message));
  };
  const request = httpRequest({
    host: url.hostname,
    port: url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : url.port,
    path: url.pathname,
    method,
    ...(signal === undefined ? {} : { signal }),
    headers: {
      Host: url.host,
      Connection: 'close',
      ...headers,
      ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
    },
    // With an agent, Node would not ask createConnection.
    ...(socket === undefined ? { agent: false } : { createConnection: () => socket }),
  });
  const late = setTimeout(() => {
    request.destroy(new CroupierError('network.timeout', `no answer from ${url.host} within ${timeoutMs} ms`));
  }, timeoutMs);
  request.on('error', fail);
  request.on('response', (response) => {
    const parts: Buffer[] = [];
    let size = 0;
    response.on('data', (part: Buffer) => {
      size += part.length;
      parts.push(part);
      if (size > maxBytes) {
        request.destroy(new CroupierError('input.too-large', `the answer of ${url.host} exceeds ${maxBytes} bytes`));
      }
    });
    response.on('error', fail);
    response.on('end', () => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) });
    });
    response.on('close', () => fail(new Error('the connection closed early')));
  });
  request.end(body);
  try {
    return await promise;
  } finally {
    clearTimeout(late);
  }
}
