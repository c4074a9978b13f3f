/** Client of the operator API: HTTPS against the realm's own root, one token, errors in the words of the catalogue. */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { CroupierError, errorMessage, isErrorCode } from '#schema/errors.ts';
import { Problem } from '#schema/api/problem.ts';
import {
  ROUTES,
  routePath,
  type RouteAnswer,
  type RouteBody,
  type RouteDefinition,
  type RouteName,
  type RouteParams,
  type RouteQuery,
} from '#schema/api/routes.ts';
import { parseJson } from '#schema/parse.ts';
import type { GatewayLocation } from './location.ts';

type Part<Key extends string, Value> = [Value] extends [undefined] ? object : { readonly [K in Key]: Value };
/** What a route wants to be sent. */
export type RouteParts<Name extends RouteName> = Part<'params', RouteParams<Name>> &
  Part<'query', RouteQuery<Name>> &
  Part<'body', RouteBody<Name>>;

interface LooseParts {
  readonly params?: Readonly<Record<string, string | number>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** The same parts without the name of their route. */
const loosely = (parts: object): LooseParts => parts;

export interface ApiClient {
  /** Asks a route that answers one document. Errors: those of the gateway, `network.*`, `certificate.untrusted`. */
  call<Name extends RouteName>(name: Name, parts: RouteParts<Name>): Promise<RouteAnswer<Name>>;
  /** Asks a route that answers a stream or text; the answer's body as it comes. */
  stream<Name extends RouteName>(name: Name, parts: RouteParts<Name>, signal?: AbortSignal): Promise<IncomingMessage>;
  close(): void;
}

/** An approval executes what was asked, which may take the HSM a while. */
const TIMEOUT_MS = 120_000;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_ANSWER = 256 * 1024 * 1024;
const MAX_PROBLEM = 64 * 1024;

export function createApiClient(location: GatewayLocation, token: string): ApiClient {
  const { host, port, serverName, ca } = location;
  const agent = new Agent({
    keepAlive: true,
    ca,
    minVersion: 'TLSv1.2',
    servername: isIP(serverName) === 0 ? serverName : '',
    checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
  });

  const send = (
    definition: RouteDefinition,
    parts: LooseParts,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const body = definition.body === undefined ? undefined : JSON.stringify(parts.body);
      const request = httpsRequest({
        agent,
        host,
        port,
        method: definition.method,
        path: routePath(definition.path, parts.params) + queryOf(parts.query),
        headers: {
          host: `${serverName.includes(':') ? `[${serverName}]` : serverName}:${port}`,
          authorization: `Bearer ${token}`,
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      const slow = (): void => {
        request.destroy(new CroupierError('network.timeout', `the gateway on ${host}:${port} does not answer`));
      };
      const connecting = setTimeout(slow, CONNECT_TIMEOUT_MS);
      request.on('socket', (socket) => {
        const connected = (): void => clearTimeout(connecting);
        if (socket.connecting) socket.once('secureConnect', connected);
        else connected();
      });
      if (timeout > 0) request.setTimeout(timeout, slow);
      request.on('close', () => clearTimeout(connecting));
      request.on('error', (error) => reject(explain(error, location)));
      request.on('response', resolve);
      request.end(body);
    });

  const open = async (
    definition: RouteDefinition,
    parts: LooseParts,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> => {
    const response = await send(definition, parts, timeout, signal);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw problemOf(await textOf(response, MAX_PROBLEM, location), status, location);
  };

  return {
    async call<Name extends RouteName>(name: Name, parts: RouteParts<Name>): Promise<RouteAnswer<Name>> {
      const definition: RouteDefinition = ROUTES[name];
      if (definition.response === undefined) throw new TypeError(`${name} answers no document`);
      const text = await textOf(await open(definition, loosely(parts), TIMEOUT_MS), MAX_ANSWER, location);
      // The route table pairs each name with its schema, which types cannot follow through a look-up.
      return parseJson(definition.response, text, 'json.malformed', `answer to ${name}`) as RouteAnswer<Name>;
    },
    stream: (name, parts, signal) => open(ROUTES[name], loosely(parts), 0, signal),
    close: () => agent.destroy(),
  };
}

function queryOf(query: LooseParts['query']): string {
  const entries = Object.entries(query ?? {}).flatMap(([key, value]) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [[key, String(value)]] : [],
  );
  return entries.length === 0 ? '' : `?${new URLSearchParams(entries).toString()}`;
}

async function textOf(response: IncomingMessage, limit: number, location: GatewayLocation): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of response) {
      if (!Buffer.isBuffer(part)) continue;
      parts.push(part);
      length += part.length;
      if (length > limit)
        throw new CroupierError('input.too-large', `the answer of the gateway exceeds ${limit} octets`);
    }
  } catch (error) {
    throw explain(error, location);
  }
  return Buffer.concat(parts).toString('utf8');
}

function problemOf(text: string, status: number, { host, port }: GatewayLocation): CroupierError {
  let problem: Problem | undefined;
  try {
    problem = parseJson(Problem, text, 'json.malformed', 'problem');
  } catch {
    problem = undefined;
  }
  if (problem === undefined) {
    return new CroupierError(
      'network.unreachable',
      `${host}:${port} answers with HTTP status ${status}, not as a gateway does; check the address`,
    );
  }
  const options = problem.retryAfter === undefined ? {} : { retryAfter: problem.retryAfter };
  if (isErrorCode(problem.code)) return new CroupierError(problem.code, problem.detail, options);
  return new CroupierError('internal.unexpected', `${problem.code}: ${problem.detail}`, options);
}

const REFUSED: readonly string[] = [
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
];
const TLS_FAULT =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH)/;
/** What answers speaks no TLS, or none that we speak. */
const NO_TLS = 'EPROTO';

/** Names of the peer and of what was tried; never the token. */
function explain(error: unknown, { host, port, pid, serverName }: GatewayLocation): Error {
  if (error instanceof CroupierError || !(error instanceof Error))
    return error instanceof Error ? error : new Error(String(error));
  if (error.name === 'AbortError') return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (TLS_FAULT.test(code)) {
    return new CroupierError(
      'certificate.untrusted',
      `the certificate of ${host}:${port} is not that of this realm's gateway (${serverName}): ${errorMessage(error)}`,
      { cause: error },
    );
  }
  if (REFUSED.includes(code) || code === '') {
    const hint =
      pid === undefined ? '' : `; run.json names process ${pid}: start it again with croupier gateway if it has ended`;
    return new CroupierError(
      'network.unreachable',
      `no gateway answers on ${host}:${port} (${code || errorMessage(error)})${hint}`,
      { cause: error },
    );
  }
  const what =
    code === NO_TLS
      ? 'does not speak TLS as the operator API does; check the port'
      : `cannot be asked: ${errorMessage(error).split('\n')[0] ?? ''}`;
  return new CroupierError('network.unreachable', `${host}:${port} ${what}`, { cause: error });
}
