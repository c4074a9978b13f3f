/**
 * EST over TLS (RFC 7030, RFC 8951): the edge that devices enrol at. TLS ends here, so that a request can be bound to its
 * connection and a certificate cannot be forged in a header. Everybody may connect, with any certificate or none: what
 * a certificate is worth, its record in the store decides.
 */
import { constants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { createSecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { EnrolmentAnswer, EnrolmentInput } from '#gateway/enrolment/enrol.ts';
import type { Log } from '#gateway/ports/log.ts';
import {
  DEFAULT_HTTP_LIMITS,
  listen,
  serverOptions,
  sourceOf,
  type HttpLimits,
  type Listener,
} from '../public/listener.ts';
import { base64FormFor, caCertificates, issued, pending, refusal, requestAttributes, type Answer } from './answer.ts';
import { channelBindings } from './channel-binding.ts';
import { credentialOf } from './credential.ts';
import { csrAttributes } from './csr-attributes.ts';
import { createFailureLimit, type FailureLimit } from './failure-limit.ts';
import { decodeRequest, readBody } from './request-body.ts';
import { checkContentType, routeOf, type EstOperation, type EstRoute } from './route.ts';

export interface EstTls {
  /** Private key of the gateway's TLS certificate, PEM. */
  readonly key: string;
  /** Certificate of the gateway, then the CAs between it and the root, PEM. */
  readonly cert: string;
  /** Device CA certificates, PEM, one each: clients are told to choose a certificate below one of these. */
  readonly clientCas: readonly string[];
  /** Groups of the key exchange, as OpenSSL names them; Node's choice unless told. */
  readonly keyExchange?: readonly string[];
}

export interface EstMetrics {
  /** Every answer; `operation` is `other` where the path names none. */
  readonly requests: (operation: EstOperation | 'other', status: number) => void;
}

export interface EstServerOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly realm: Realm;
  readonly tls: EstTls;
  readonly enrol: (input: EnrolmentInput) => Promise<EnrolmentAnswer>;
  /** CA certificates, DER: Device CA, Operations CA and the self-signed root. */
  readonly cacerts: () => readonly Uint8Array[];
  /** Its classes are the labels, and what they allow is what csrattrs says. */
  readonly policy: () => Policy;
  readonly failuresPerMinute: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: EstMetrics;
  readonly limits?: Partial<HttpLimits>;
}

export interface EstServer {
  readonly port: number;
  /** New handshakes use this from now on. Errors: `config.invalid`, and the old one stays in use. */
  replaceTls(tls: EstTls): void;
  /** Takes no more connections, answers the requests under way, and ends all connections. */
  close(): Promise<void>;
}

/**
 * No session is resumed: every connection proves its key again, and tls-unique stays the client's Finished. TLS 1.2
 * stays, since clients that are out there speak nothing newer.
 */
function secureOptions({ key, cert, clientCas, keyExchange }: EstTls): SecureContextOptions {
  return {
    key,
    cert,
    ca: [...clientCas],
    minVersion: 'TLSv1.2',
    ...(keyExchange === undefined ? {} : { ecdhCurve: keyExchange.join(':') }),
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function checkedTls(tls: EstTls): SecureContextOptions {
  const options = secureOptions(tls);
  try {
    createSecureContext(options);
    return options;
  } catch (cause) {
    throw new CroupierError(
      'config.invalid',
      'The TLS key, certificate or Device CA of the EST listener cannot be used',
      { cause },
    );
  }
}

class EstEdge {
  private readonly options: EstServerOptions;
  private readonly failures: FailureLimit;
  private listener: Listener | undefined;

  constructor(options: EstServerOptions) {
    this.options = options;
    this.failures = createFailureLimit(options.failuresPerMinute);
  }

  attach(listener: Listener): void {
    this.listener = listener;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { realm, log, metrics } = this.options;
    const source = sourceOf(request.socket);
    let route: EstRoute | undefined;
    let answer: Answer;
    try {
      route = routeOf(request.method ?? '', request.url ?? '', Object.keys(this.options.policy().classes));
      answer = await this.answer(route, request, source);
    } catch (error) {
      answer = refusal(error, realm);
      const fields = { operation: route?.operation, code: answer.code, status: answer.status, source };
      if (answer.status < 500) log.debug(fields, 'EST request refused');
      else if (answer.status === 503) log.warn({ ...fields, error: errorMessage(error) }, 'EST request put off');
      else log.error({ ...fields, error: errorMessage(error) }, 'EST request failed');
    }
    metrics?.requests(route?.operation ?? 'other', answer.status);
    this.send(response, answer);
  }

  private async answer(
    { operation, label }: EstRoute,
    request: IncomingMessage,
    source: string | undefined,
  ): Promise<Answer> {
    const { cacerts, policy } = this.options;
    const form = base64FormFor(request.headers['user-agent']);
    switch (operation) {
      case 'cacerts':
        return caCertificates(cacerts(), form);
      case 'csrattrs':
        return requestAttributes(csrAttributes(policy(), label), form);
      case 'simpleenroll':
      case 'simplereenroll':
        return this.enrol(operation, label, request, source);
      default:
        return operation satisfies never;
    }
  }

  private async enrol(
    operation: EnrolmentInput['operation'],
    label: EnrolmentInput['label'],
    request: IncomingMessage,
    source: string | undefined,
  ): Promise<Answer> {
    const { clock, enrol } = this.options;
    const address = source ?? 'unknown';
    const wait = this.failures.wait(address, clock.monotonic());
    if (wait !== undefined) {
      throw new CroupierError(
        'enrolment.rate-limited',
        'too many requests without a valid credential came from this address',
        { retryAfter: wait },
      );
    }
    try {
      const outcome = await enrol(await inputOf(operation, label, request, source));
      if (outcome.kind === 'issued') return issued(outcome.certificate);
      if (outcome.parked) this.failures.failed(address, clock.monotonic());
      return pending(outcome.retryAfter);
    } catch (error) {
      // What is our own fault is not held against the address.
      if (refusal(error, this.options.realm).status < 500) this.failures.failed(address, clock.monotonic());
      throw error;
    }
  }

  private send(response: ServerResponse, { status, headers, body, code }: Answer): void {
    if (response.destroyed) return;
    const length = status === 204 ? [] : ['Content-Length', String(body?.length ?? 0)];
    // Of a request that is too large, not all may have been read.
    const last = this.listener?.draining === true || code === 'input.too-large';
    const at = headers[0] === 'Content-Type' ? 2 : 0;
    const end = last ? ['Connection', 'close'] : [];
    response.writeHead(status, [...headers.slice(0, at), ...length, ...headers.slice(at), ...end]);
    response.end(body);
  }
}

async function inputOf(
  operation: EnrolmentInput['operation'],
  label: EnrolmentInput['label'],
  request: IncomingMessage,
  source: string | undefined,
): Promise<EnrolmentInput> {
  checkContentType(request.headers['content-type']);
  const socket = request.socket as TLSSocket;
  const certificate = socket.getPeerX509Certificate()?.raw;
  const credential = credentialOf(operation, { authorization: request.headers.authorization, certificate });
  const bindings = channelBindings(socket);
  const csr = decodeRequest(await readBody(request));
  return { operation, label, csr, credential, source, channelBindings: bindings };
}

/**
 * Binds the port and serves `cacerts`, `csrattrs`, `simpleenroll` and `simplereenroll`, with and without a label.
 * Errors: `port.in-use`, `config.invalid`.
 */
export async function createEstServer(options: EstServerOptions): Promise<EstServer> {
  const limits: HttpLimits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const edge = new EstEdge(options);
  const server: Server = createServer(
    {
      ...checkedTls(options.tls),
      ...serverOptions(limits),
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: limits.headersTimeoutMs,
    },
    (request, response) => void edge.handle(request, response),
  );
  server.on('tlsClientError', (error, socket) => {
    options.log.debug({ source: sourceOf(socket), error: error.message }, 'EST handshake failed');
  });
  const listener = await listen(server, {
    host: options.host,
    port: options.port,
    limits,
    onFull: () =>
      options.log.warn({ maxConnections: limits.maxConnections }, 'EST connection refused: too many connections'),
  });
  edge.attach(listener);
  return {
    port: listener.port,
    replaceTls: (tls) => server.setSecureContext(checkedTls(tls)),
    close: () => listener.close(),
  };
}
