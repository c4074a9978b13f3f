/** What the HTTP listeners share: binding a port with a clear error, limits against slow clients, an orderly end. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { CroupierError } from '#schema/errors.ts';

export interface HttpLimits {
  /** TCP connections, handshakes under way included; further ones are closed at once. */
  readonly maxConnections: number;
  /** Milliseconds for the request line and headers. */
  readonly headersTimeoutMs: number;
  /** Milliseconds for the whole request. */
  readonly requestTimeoutMs: number;
  /** Milliseconds that an idle connection is kept for the next request. */
  readonly keepAliveMs: number;
  readonly maxRequestsPerConnection: number;
  /** Milliseconds that requests under way have to end when the listener closes. */
  readonly drainMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  maxConnections: 5_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 20_000,
  keepAliveMs: 5_000,
  maxRequestsPerConnection: 100,
  drainMs: 10_000,
};

/** Options for `createServer` of node:http and node:https that cannot be set later. */
export function serverOptions(limits: HttpLimits): {
  maxHeaderSize: number;
  headersTimeout: number;
  requestTimeout: number;
  keepAliveTimeout: number;
  connectionsCheckingInterval: number;
} {
  return {
    maxHeaderSize: 8 * 1024,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    // How often Node looks for requests that have taken too long; they may last that much longer.
    connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs, limits.requestTimeoutMs),
  };
}

export interface Listener {
  readonly port: number;
  /** Whether `close` was called: answers should then end their connection. */
  readonly draining: boolean;
  /** Takes no more connections, ends idle ones, lets requests under way end (at most `drainMs`), then ends all. */
  close(): Promise<void>;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: HttpLimits;
  readonly onFull: () => void;
}

/** Counts connections with a request under way, so that closing can wait for their answers. */
class Connections {
  private readonly open = new Set<Socket>();
  private readonly busy = new Set<Socket>();
  private drained: (() => void) | undefined;
  draining = false;

  watch(server: Server): void {
    // On a TLS server these are the TCP sockets below; the busy ones are what requests come from.
    server.on('connection', (socket: Socket) => {
      this.open.add(socket);
      socket.once('close', () => this.open.delete(socket));
    });
    const watched = new WeakSet<Socket>();
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const { socket } = request;
      this.busy.add(socket);
      // While draining, the connection ends after this answer, and only then have all its bytes left.
      response.once('close', () => this.draining || this.rest(socket));
      if (watched.has(socket)) return;
      watched.add(socket);
      socket.once('close', () => this.rest(socket));
    });
  }

  private rest(socket: Socket): void {
    this.busy.delete(socket);
    if (this.busy.size === 0) this.drained?.();
  }

  async drain(ms: number): Promise<void> {
    this.draining = true;
    if (this.busy.size > 0) {
      await new Promise<void>((resolve) => {
        const late = setTimeout(resolve, ms);
        this.drained = () => {
          clearTimeout(late);
          resolve();
        };
      });
    }
    for (const socket of this.open) socket.destroy();
  }
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const taken = error.code === 'EADDRINUSE';
      const message = taken ? `Port ${port} of ${host} is taken` : `Cannot listen on ${host}:${port}: ${error.message}`;
      reject(
        new CroupierError(taken ? 'port.in-use' : 'config.invalid', message, { cause: error, detail: { host, port } }),
      );
    };
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Binds the port (0 takes a free one). Errors: `port.in-use`, `config.invalid`. */
export async function listen(server: Server, { host, port, limits, onFull }: ListenOptions): Promise<Listener> {
  const connections = new Connections();
  server.maxConnections = limits.maxConnections;
  server.maxRequestsPerSocket = limits.maxRequestsPerConnection;
  server.on('drop', onFull);
  connections.watch(server);
  await bind(server, host, port);
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    await connections.drain(limits.drainMs);
    await closed;
  };
  return {
    port: (server.address() as AddressInfo).port,
    get draining() {
      return connections.draining;
    },
    close: () => (closing ??= close()),
  };
}

/** The address of the other side; an IPv4 address that came through an IPv6 socket is shown as what it is. */
export function sourceOf(socket: Socket): string | undefined {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, '');
}
