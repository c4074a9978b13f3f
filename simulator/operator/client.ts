/** Client of the operator API, typed by its table of routes: HTTPS, kept alive, trusting the realm's root alone. */
import { Agent, request as httpsRequest } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { checkServerIdentity } from 'node:tls';
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
import { asCroupierError, CroupierError, errorMessage, isErrorCode } from '#schema/errors.ts';
import { parseJson, parseWith } from '#schema/parse.ts';

type Part<Key extends string, Value> = [Value] extends [undefined] ? object : { readonly [K in Key]: Value };
/** The parts that a route has: `params`, `query`, `body`. */
export type RouteParts<Name extends RouteName> = Part<'params', RouteParams<Name>> &
  Part<'query', RouteQuery<Name>> &
  Part<'body', RouteBody<Name>>;

export interface OperatorClientOptions {
  readonly host: string;
  readonly port: number;
  /** Name that the gateway's certificate must hold. */
  readonly serverName: string;
  /** Root certificate of the realm, PEM. */
  readonly ca: string;
  readonly token: string;
}

export interface OperatorClient {
  /**
   * Asks a route that answers one document. A request that the gateway throttles is repeated when it says so. Errors:
   * those of the gateway, `network.*`, `json.malformed`.
   */
  call<Name extends RouteName>(name: Name, parts: RouteParts<Name>): Promise<RouteAnswer<Name>>;
  /** Asks a route that answers a stream or text; the answer's body as it comes. Errors: as `call`. */
  stream<Name extends RouteName>(name: Name, parts: RouteParts<Name>): Promise<IncomingMessage>;
  close(): void;
}

interface AnyParts {
  readonly params?: Readonly<Record<string, string | number>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** The same parts without the name of their route. */
const untied = (parts: object): AnyParts => parts;

const CONNECTIONS = 8;
/** An approval carries out what was asked, which may be a thousand tickets. */
const TIMEOUT_MS = 120_000;
const MAX_OCTETS = 256 * 1024 * 1024;
const MOST_REPETITIONS = 120;

export function createOperatorClient(options: OperatorClientOptions): OperatorClient {
  const { host, port, serverName, ca, token } = options;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: CONNECTIONS,
    ca,
    checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
  });

  const start = (
    { method, path }: RouteDefinition,
    { params, query }: AnyParts,
    body: string | undefined,
  ): ClientRequest =>
    httpsRequest({
      agent,
      host,
      port,
      method,
      path: routePath(path, params) + queryString(query),
      timeout: TIMEOUT_MS,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
    });

  const exchange = async (route: RouteDefinition, parts: AnyParts): Promise<IncomingMessage> => {
    const body = route.body === undefined ? undefined : JSON.stringify(parts.body);
    for (;;) {
      const request = start(route, parts, body);
      const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
      request.once('response', resolve).once('error', reject);
      request.once('timeout', () =>
        request.destroy(new CroupierError('network.timeout', `no answer from ${host}:${port}`)),
      );
      request.end(body);
      try {
        return await promise;
      } catch (error) {
        // The server closed a kept connection at the moment of its use: nothing was asked yet.
        if (request.reusedSocket && route.method === 'GET' && isReset(error)) continue;
        throw asCroupierError(
          error,
          'network.unreachable',
          `the operator API on ${host}:${port}: ${errorMessage(error)}`,
        );
      }
    }
  };

  const ask = async (name: RouteName, parts: AnyParts): Promise<IncomingMessage> => {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await exchange(ROUTES[name], parts);
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return answer;
      const error = refusal(name, status, await textOf(answer));
      if (error.code !== 'operator.rate-limited' || attempt > MOST_REPETITIONS) throw error;
      await delay((error.retryAfter ?? 1) * 1000);
    }
  };

  return {
    async call<Name extends RouteName>(name: Name, parts: RouteParts<Name>): Promise<RouteAnswer<Name>> {
      const { response }: RouteDefinition = ROUTES[name];
      if (response === undefined) throw new TypeError(`${name} does not answer a document`);
      const document = parseDocument(await textOf(await ask(name, untied(parts))), name);
      // The table ties the schema to the name; that tie does not outlive the look-up in a type.
      return parseWith(response, document, 'json.malformed', `answer to ${name}`) as RouteAnswer<Name>;
    },
    stream: (name, parts) => ask(name, untied(parts)),
    close: () => agent.destroy(),
  };
}

function queryString(query: AnyParts['query']): string {
  const pairs = Object.entries(query ?? {}).flatMap(([key, value]): [string, string][] =>
    typeof value === 'string' || typeof value === 'number' ? [[key, String(value)]] : [],
  );
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs).toString()}`;
}

const isReset = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ECONNRESET';

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let octets = 0;
  for await (const chunk of answer) {
    if (!(chunk instanceof Uint8Array)) continue;
    octets += chunk.length;
    if (octets > MAX_OCTETS) throw new CroupierError('input.too-large', `the answer exceeds ${MAX_OCTETS} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseDocument(text: string, name: RouteName): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CroupierError('json.malformed', `the answer to ${name} is not JSON`);
  }
}

function refusal(name: RouteName, status: number, text: string): CroupierError {
  let problem: Problem;
  try {
    problem = parseJson(Problem, text, 'json.malformed', 'problem');
  } catch (error) {
    return new CroupierError(
      'network.unreachable',
      `${name} is answered with HTTP status ${status} and no problem document`,
      { cause: error },
    );
  }
  const retry = problem.retryAfter === undefined ? {} : { retryAfter: problem.retryAfter };
  return isErrorCode(problem.code)
    ? new CroupierError(problem.code, `${name}: ${problem.detail}`, retry)
    : new CroupierError('internal.unexpected', `${name}: ${problem.code}: ${problem.detail}`, retry);
}
