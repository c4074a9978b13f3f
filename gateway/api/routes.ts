/** Registers the table of routes: access first, then the body, then the handler. */
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify';
import type { CommandAnswer } from '#schema/api/commands.ts';
import { ROUTES, type RouteDefinition, type RouteName, type RouteRequest } from '#schema/api/routes.ts';
import { CroupierError } from '#schema/errors.ts';
import type { OperatorRecord } from '#gateway/ports/store/records.ts';
import { sourceOf } from '../public/listener.ts';
import type { Access } from './access.ts';
import type { DocumentHandlers, DocumentRoute, StreamRoute } from './handlers/types.ts';
import type { ApiLimits } from './limits.ts';

export type StreamHandler<Name extends StreamRoute> = (
  request: RouteRequest<Name>,
  reply: FastifyReply,
  operator: OperatorRecord,
) => Promise<unknown>;

export type StreamHandlers = { readonly [Name in StreamRoute]: StreamHandler<Name> };

/** Routes whose bodies are lists. */
const BULK: ReadonlySet<RouteName> = new Set(['device.import', 'device.ticket', 'trust.import']);

export const addressOf = (request: FastifyRequest): string => sourceOf(request.socket) ?? 'unknown';

function schemaOf(name: RouteName, route: RouteDefinition): FastifySchema {
  const { params, query, body, response, answers, summary, tag, action } = route;
  const responses = answers === 'command' ? { 200: response, 202: response } : { 200: response };
  return {
    summary,
    description: `Action: ${action}`,
    operationId: name,
    tags: [tag],
    ...(params === undefined ? {} : { params }),
    ...(query === undefined ? {} : { querystring: query }),
    ...(body === undefined ? {} : { body }),
    ...(response === undefined ? {} : { response: responses }),
  };
}

/** 202 as long as another person has to approve. */
function statusOf(answer: unknown): 200 | 202 {
  const state = (value: unknown): unknown =>
    typeof value === 'object' && value !== null ? Reflect.get(value, 'state') : undefined;
  const inner = typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'answer') : undefined;
  const required: CommandAnswer['state'] = 'approval-required';
  return state(answer) === required || state(inner) === required ? 202 : 200;
}

function isStreamRoute(name: RouteName): name is StreamRoute {
  const { answers }: RouteDefinition = ROUTES[name];
  return answers !== 'json' && answers !== 'command';
}

function isRouteName(name: string): name is RouteName {
  return Object.hasOwn(ROUTES, name);
}

export interface RouteParts {
  readonly app: FastifyInstance;
  readonly access: Access;
  readonly limits: ApiLimits;
  readonly documents: DocumentHandlers;
  readonly streams: StreamHandlers;
}

export function registerRoutes({ app, access, limits, documents, streams }: RouteParts): void {
  const operators = new WeakMap<FastifyRequest, OperatorRecord>();

  const operatorOf = (request: FastifyRequest): OperatorRecord => {
    const operator = operators.get(request);
    if (operator === undefined) throw new CroupierError('operator.unauthenticated');
    return operator;
  };

  /** The validator of the route's own schemas has made these parts what the type says. */
  const parsed = <Name extends RouteName>({ params, query, body }: FastifyRequest): RouteRequest<Name> =>
    ({ params, query, body }) as RouteRequest<Name>;

  const document = <Name extends DocumentRoute>(name: Name, parts: (request: FastifyRequest) => RouteRequest<Name>) => {
    const handler: DocumentHandlers[Name] = documents[name];
    return async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
      const answer: unknown = await handler(parts(request), operatorOf(request));
      return reply.code(statusOf(answer)).send(answer);
    };
  };

  const stream = <Name extends StreamRoute>(name: Name, parts: (request: FastifyRequest) => RouteRequest<Name>) => {
    const handler: StreamHandlers[Name] = streams[name];
    return (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
      handler(parts(request), reply, operatorOf(request));
  };

  for (const name of Object.keys(ROUTES).filter(isRouteName)) {
    const route: RouteDefinition = ROUTES[name];
    app.route({
      method: route.method,
      url: route.path,
      schema: schemaOf(name, route),
      bodyLimit: BULK.has(name) ? limits.bulkBodyBytes : limits.bodyBytes,
      // Before the body is read: who may not ask is not listened to.
      onRequest: async (request) => {
        const address = addressOf(request);
        const operator = await access.login(address, request.headers.authorization);
        await access.permit(address, operator, route.action);
        operators.set(request, operator);
      },
      // A command whose members are all optional needs no body.
      preValidation: async (request) => {
        if (route.body !== undefined && request.body === undefined) request.body = {};
      },
      handler: isStreamRoute(name) ? stream(name, parsed) : document(name, parsed),
    });
  }
}
