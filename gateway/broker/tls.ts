/** The TLS edge of the embedded broker: who gets through is decided here by chain alone; the authorizer decides the rest. */
import { Buffer } from 'node:buffer';
import { constants, X509Certificate } from 'node:crypto';
import { createServer as createNetServer, type AddressInfo, Socket, type Server as NetServer } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { CroupierError } from '#schema/errors.ts';

export interface BrokerTls {
  /** Private key of the gateway's TLS certificate, PEM. */
  readonly key: string;
  /** Certificate of the gateway, then the CAs between it and the root, PEM. */
  readonly cert: string;
  /** Device CA certificates, PEM, one each: only certificates directly or indirectly below these pass. */
  readonly clientCas: readonly string[];
  /** Groups of the key exchange, as OpenSSL names them; Node's choice unless told. */
  readonly keyExchange?: readonly string[];
}

export interface TlsListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: BrokerTls;
  readonly handshakeTimeoutMs: number;
  readonly maxConnections: number;
  /** A connection whose certificate chains to a Device CA and is within its validity. */
  readonly onConnection: (socket: TLSSocket) => void;
  /** A handshake that failed (no certificate, a foreign or an expired one, no TLS at all), with OpenSSL's or Node's code. */
  readonly onRefused: (reason: string, address: string | undefined) => void;
  readonly onFull: () => void;
}

export interface TlsListener {
  readonly port: number;
  /** New handshakes use this from now on; connections already made are left as they are. */
  replaceTls(tls: BrokerTls): void;
  /** Stops listening and ends every connection. */
  close(): Promise<void>;
}

const IDLE_PROBE_MS = 60_000;

/** X509_CERT_AUX (OpenSSL, x509_aux.c): SEQUENCE { trust SEQUENCE { id-kp-clientAuth } }. */
const TRUSTED_FOR_CLIENTS = Buffer.from('300c300a06082b06010505070302', 'hex');
const PEM_LINE = /.{1,64}/g;

/**
 * The CA as OpenSSL's TRUSTED CERTIFICATE: an anchor for clients although it is not self-signed. The Device CA must be
 * the anchor itself, since under the root certificates of the Operations CA would pass as well; and `tls.Server` drops
 * `allowPartialTrustChain`, which would say the same, when it builds its context.
 */
function asClientAnchor(pem: string): string {
  const bytes = Buffer.concat([new X509Certificate(pem).raw, TRUSTED_FOR_CLIENTS]);
  const lines = bytes.toString('base64').match(PEM_LINE) ?? [];
  return ['-----BEGIN TRUSTED CERTIFICATE-----', ...lines, '-----END TRUSTED CERTIFICATE-----', ''].join('\n');
}

/**
 * No session tickets: every connection proves its key again and is checked against the CAs of today, and nothing is kept
 * for resumption.
 */
function tlsServer(options: TlsListenerOptions, tls: BrokerTls): TlsServer {
  try {
    const server = createTlsServer({
      key: tls.key,
      cert: tls.cert,
      ca: tls.clientCas.map(asClientAnchor),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(tls.keyExchange === undefined ? {} : { ecdhCurve: tls.keyExchange.join(':') }),
      handshakeTimeout: options.handshakeTimeoutMs,
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    });
    server.on('secureConnection', options.onConnection);
    server.on('tlsClientError', (error, socket) => {
      // The verification result, where the chain was the reason; the error then says only that the socket closed.
      const reason: unknown = socket.authorizationError ?? Reflect.get(error, 'code') ?? error.message;
      options.onRefused(String(reason), addressOf(socket));
    });
    return server;
  } catch (cause) {
    throw new CroupierError(
      'config.invalid',
      'The TLS key, certificate or Device CA of the MQTT listener cannot be used',
      { cause },
    );
  }
}

/** A destroyed TLS socket has no address any more; the TCP socket below it has remembered its own. */
function addressOf(socket: TLSSocket): string | undefined {
  const below: unknown = Reflect.get(socket, '_parent');
  return socket.remoteAddress ?? (below instanceof Socket ? below.remoteAddress : undefined);
}

function bind(server: NetServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      const message = taken ? `Port ${port} of ${host} is taken` : `Cannot listen on ${host}:${port}: ${error.message}`;
      reject(
        new CroupierError(taken ? 'port.in-use' : 'config.invalid', message, { cause: error, detail: { host, port } }),
      );
    });
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}

/**
 * Binds the port and hands over connections that passed TLS with a certificate below a Device CA.
 * The TCP listener and the TLS server are separate so that certificates can be replaced without closing the port.
 * Errors: `port.in-use`, `config.invalid`.
 */
export async function listenTls(options: TlsListenerOptions): Promise<TlsListener> {
  if (options.tls.clientCas.length === 0) {
    throw new CroupierError('config.invalid', 'The MQTT listener needs a Device CA certificate');
  }
  let current = tlsServer(options, options.tls);
  const sockets = new Set<Socket>();
  const listener = createNetServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: IDLE_PROBE_MS });
  const forget = function (this: Socket): void {
    sockets.delete(this);
  };
  listener.maxConnections = options.maxConnections;
  listener.on('drop', options.onFull);
  listener.on('connection', (socket) => {
    // Asked for now, the address is remembered beyond the end of the socket.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', forget);
    current.emit('connection', socket);
  });
  await bind(listener, options.host, options.port);
  return {
    port: (listener.address() as AddressInfo).port,
    replaceTls: (tls) => {
      current = tlsServer(options, tls);
    },
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
