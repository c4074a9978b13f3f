/** The OpenAPI 3.1 document, made of the table of routes. */
import swagger from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from '@fastify/type-provider-zod';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { AuditRecord } from '#schema/audit.ts';
import { CommandAnswer } from '#schema/api/commands.ts';
import { ROUTES, TicketAnswer, type RouteDefinition } from '#schema/api/routes.ts';
import * as views from '#schema/api/views.ts';

/** Schemas that stand under a name of their own in the document. */
const named = z.registry<{ id: string }>();
const NAMED = {
  ApprovalAnswer: views.ApprovalAnswer,
  AuditHead: views.AuditHeadView,
  AuditRecord,
  CommandAnswer,
  DeviceDetail: views.DeviceDetailView,
  DevicePage: views.DevicePage,
  KeySetDetail: views.KeySetDetailView,
  PolicyPlan: views.PolicyPlanView,
  Problem: views.Problem,
  Rollout: views.RolloutView,
  GatewayEvent: views.GatewayEvent,
  Status: views.StatusView,
  TargetPage: views.TargetPage,
  TicketAnswer,
  TrustBundleDetail: views.TrustBundleView,
};
for (const [id, schema] of Object.entries(NAMED)) named.add(schema, { id });

const transform = createJsonSchemaTransform({ schemaRegistry: named });
const transformObject = createJsonSchemaTransformObject({ schemaRegistry: named });

/** Content types of answers that are no JSON documents. */
const STREAM_TYPES = {
  events: 'text/event-stream',
  lines: 'application/jsonl',
  text: 'text/plain',
} as const;

const PROBLEM_RESPONSE = {
  description: 'What went wrong (RFC 9457)',
  content: { [views.PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
};

interface Operation {
  responses: Record<string, object>;
  security?: object[];
}

type Document = ReturnType<typeof transformObject>;

/** Adds what schemas of routes cannot say: problems on every route, and answers that are streams or text. */
function complete(document: Document): Document {
  const paths: Record<string, Record<string, Operation>> = JSON.parse(JSON.stringify(document.paths ?? {}));
  for (const route of Object.values<RouteDefinition>(ROUTES)) {
    const operation = paths[openApiPath(route.path)]?.[route.method.toLowerCase()];
    if (operation === undefined) continue;
    operation.responses['default'] = PROBLEM_RESPONSE;
    const { answers } = route;
    if (answers === 'json' || answers === 'command') continue;
    const content = { [STREAM_TYPES[answers]]: { schema: { type: 'string' } } };
    operation.responses['200'] = { description: route.summary, content };
  }
  return Object.assign(document, { paths });
}

const openApiPath = (path: string): string => path.replaceAll(/:([a-z]+)/g, '{$1}');

/** Registers the plug-in; routes registered afterwards stand in the document, `GET /v1/openapi.json` answers it. */
export async function serveOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Croupier operator API',
        version,
        description:
          'Every change is a command: it is done at once (200) or waits for the approval of another person (202). ' +
          'Who may do what: docs/governance.md.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform,
    transformObject: (document) => complete(transformObject(document)),
  });
  app.get('/v1/openapi.json', { schema: { hide: true } }, () => app.swagger());
}
