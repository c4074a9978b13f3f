/** The operator API: HTTPS, tokens, the role matrix, the table of routes. */
import { constants } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { serializerCompiler, validatorCompiler } from '@fastify/type-provider-zod';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { PROBLEM_TYPE } from '#schema/api/problem.ts';
import type { StatusView, TicketInfo } from '#schema/api/views.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AuditExportPorts } from '#gateway/audit/export.ts';
import type { CommandDesk } from '#gateway/operators/command.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { listen, serverOptions, type Listener } from '../public/listener.ts';
import { createAccess, type Access } from './access.ts';
import type { EventFeed } from './events.ts';
import { createEventStreams } from './event-stream.ts';
import { alertHandlers } from './handlers/alerts.ts';
import { authorityHandlers } from './handlers/authorities.ts';
import { deviceHandlers } from './handlers/devices.ts';
import { governanceHandlers } from './handlers/governance.ts';
import { keyHandlers } from './handlers/keys.ts';
import { rolloutHandlers } from './handlers/rollouts.ts';
import type { HandlerPorts, PlanRollout } from './handlers/types.ts';
import { SECURITY_HEADERS } from './headers.ts';
import { DEFAULT_API_LIMITS, type ApiLimits } from './limits.ts';
import { serveOpenApi } from './openapi.ts';
import { nameError, problemOf } from './problem.ts';
import { createRolloutWatch } from './rollout-watch.ts';
import { addressOf, registerRoutes } from './routes.ts';
import { streamHandlers } from './streams.ts';

export interface ApiTls {
  /** Private key of the gateway's TLS certificate, PEM. */
  readonly key: string;
  /** Certificate of the gateway, then the CAs between it and the root, PEM. */
  readonly cert: string;
}

export interface ApiMetrics {
  /** Every answer; `route` is the path as the table has it, `other` where none was found. */
  readonly requests: (route: string, status: number) => void;
}

export interface ApiServerOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls: ApiTls;
  /** Version of Croupier, for the OpenAPI document. */
  readonly version: string;
  readonly store: Store;
  readonly desk: CommandDesk;
  readonly feed: EventFeed;
  /** The policy in force. */
  readonly policy: () => Policy;
  readonly planRollout: PlanRollout;
  readonly status: () => Promise<StatusView>;
  /** Prometheus text format. */
  readonly metrics: () => Promise<string>;
  readonly ticketInfo: () => TicketInfo;
  readonly auditExport: AuditExportPorts;
  readonly clock: Clock;
  readonly log: Log;
  readonly apiMetrics?: ApiMetrics;
  readonly limits?: Partial<ApiLimits>;
}

export interface ApiServer {
  readonly port: number;
  /** New handshakes use this from now on. Errors: `config.invalid`, and the old one stays in use. */
  replaceTls(tls: ApiTls): void;
  /** Ends event streams, answers the requests under way, ends all connections. */
  close(): Promise<void>;
}

function checkedTls({ key, cert }: ApiTls): SecureContextOptions {
  const options: SecureContextOptions = {
    key,
    cert,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
  try {
    createSecureContext(options);
    return options;
  } catch (cause) {
    throw new CroupierError('config.invalid', 'The TLS key or certificate of the operator API cannot be used', {
      cause,
    });
  }
}

type AnswerError = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void;

function errorAnswer(log: Log): AnswerError {
  return (error, request, reply) => {
    const named = nameError(error);
    const problem = problemOf(named);
    const fields = {
      code: named.code,
      status: problem.status,
      route: request.routeOptions?.url,
      source: addressOf(request),
    };
    if (problem.status >= 500) {
      const cause = named.cause === undefined ? '' : `: ${errorMessage(named.cause)}`;
      log.error(fields, `operator request failed: ${named.message}${cause}`);
    } else log.info(fields, `operator request refused: ${named.message}`);
    if (problem.retryAfter !== undefined) reply.header('retry-after', problem.retryAfter);
    if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="croupier"');
    reply.headers(SECURITY_HEADERS).code(problem.status).type(PROBLEM_TYPE).serializer(JSON.stringify).send(problem);
  };
}

/** Tells those who look on what was asked of an approver. */
function submitWith(desk: CommandDesk, feed: EventFeed): HandlerPorts['submit'] {
  return async (operator, action, request) => {
    const answer = await desk.submit(operator, action, request);
    if (answer.state === 'approval-required') {
      feed.publish({ type: 'approval', approval: answer.approval.id, state: 'asked' });
    }
    return answer;
  };
}

function watchEveryRequest(app: FastifyInstance, access: Access, metrics: ApiMetrics | undefined): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS);
    access.throttle(addressOf(request));
  });
  app.addHook('onResponse', async (request, reply) => {
    metrics?.requests(request.routeOptions.url ?? 'other', reply.statusCode);
  });
}

/** Binds the port and serves the operator API. Errors: `port.in-use`, `config.invalid`. */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { store, clock, log, feed, desk } = options;
  const limits: ApiLimits = { ...DEFAULT_API_LIMITS, ...options.limits };
  const server: Server = createServer({
    ...checkedTls(options.tls),
    ...serverOptions(limits),
    handshakeTimeout: limits.headersTimeoutMs,
  });
  server.on('tlsClientError', (error, socket) => {
    log.debug({ source: socket.remoteAddress, error: error.message }, 'operator handshake failed');
  });

  const answerError = errorAnswer(log);
  const app: FastifyInstance = fastify({
    serverFactory: (handler) => server.on('request', handler),
    bodyLimit: limits.bodyBytes,
    // What is refused before there is a route, such as a path that cannot be decoded.
    frameworkErrors: answerError,
    routerOptions: { maxParamLength: 256 },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeContentTypeParser('text/plain');
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request, reply) => {
    answerError(new CroupierError('input.route-unknown', `there is no ${request.method} on this path`), request, reply);
  });

  const requests = { burst: limits.requestBurst, perSecond: limits.requestsPerSecond };
  const access = createAccess({ store, clock, requests, failuresPerMinute: limits.failuresPerMinute });
  watchEveryRequest(app, access, options.apiMetrics);
  await serveOpenApi(app, options.version);

  const streams = createEventStreams(clock, limits);
  const rollouts = createRolloutWatch({ store, feed, clock, log, everyMs: limits.watchMs });
  const ports: HandlerPorts = {
    store,
    clock,
    feed,
    policy: options.policy,
    planRollout: options.planRollout,
    status: options.status,
    ticketInfo: options.ticketInfo,
    decide: (...request) => desk.decide(...request),
    submit: submitWith(desk, feed),
  };
  const { metrics, auditExport } = options;
  registerRoutes({
    app,
    access,
    limits,
    documents: {
      ...alertHandlers(ports),
      ...authorityHandlers(ports),
      ...deviceHandlers(ports),
      ...keyHandlers(ports),
      ...rolloutHandlers(ports),
      ...governanceHandlers(ports),
    },
    streams: streamHandlers({ feed, streams, rollouts, metrics, auditExport }),
  });
  await app.ready();

  const listener: Listener = await listen(server, {
    host: options.host,
    port: options.port,
    limits,
    onFull: () => log.warn({ maxConnections: limits.maxConnections }, 'operator connection refused: too many'),
  });
  return {
    port: listener.port,
    replaceTls: (tls) => server.setSecureContext(checkedTls(tls)),
    close: async () => {
      await rollouts.close();
      streams.closeAll();
      await listener.close();
      await app.close();
    },
  };
}
