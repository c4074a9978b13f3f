/** The OpenAPI 3.1 document, made of the table of routes. */
import swagger from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from '@fastify/type-provider-zod';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { AuditExportLine } from '#schema/audit.ts';
import { CommandAnswer } from '#schema/api/commands.ts';
import { ROUTES, TicketAnswer, type RouteDefinition } from '#schema/api/routes.ts';
import * as views from '#schema/api/views.ts';
import type { StreamRoute } from './handlers/types.ts';

/** Schemas that stand under a name of their own in the document. */
const named = z.registry<{ id: string }>();
const NAMED = {
  ApprovalAnswer: views.ApprovalAnswer,
  AuditHead: views.AuditHeadView,
  AuditExportLine,
  CommandAnswer,
  DeviceDetail: views.DeviceDetailView,
  DevicePage: views.DevicePage,
  KeySetDetail: views.KeySetDetailView,
  PolicyPlan: views.PolicyPlanView,
  Problem: views.Problem,
  Rollout: views.RolloutView,
  RolloutPlan: views.RolloutPlanView,
  GatewayEvent: views.GatewayEvent,
  Status: views.StatusView,
  HistoryPage: views.HistoryPage,
  TargetPage: views.TargetPage,
  TicketAnswer,
  TrustBundleDetail: views.TrustBundleView,
};
for (const [id, schema] of Object.entries(NAMED)) named.add(schema, { id });

const transform = createJsonSchemaTransform({ schemaRegistry: named });
const transformObject = createJsonSchemaTransformObject({ schemaRegistry: named });

const reference = (name: keyof typeof NAMED): object => ({ $ref: `#/components/schemas/${name}` });

/** Answers that are no JSON documents: content type, and what one event or line is. */
const STREAMS: Readonly<Record<StreamRoute, readonly [type: string, schema: object]>> = {
  'events.watch': ['text/event-stream', reference('GatewayEvent')],
  'rollout.watch': ['text/event-stream', reference('Rollout')],
  'audit.export': ['application/jsonl', reference('AuditExportLine')],
  'metrics.show': ['text/plain', { type: 'string' }],
};

const PROBLEM_RESPONSE = {
  description: 'What went wrong (RFC 9457)',
  content: { [views.PROBLEM_TYPE]: { schema: reference('Problem') } },
};

interface Operation {
  responses: Record<string, { description: string; content?: object }>;
}

type Document = ReturnType<typeof transformObject>;

/** Adds what schemas of routes cannot say: problems on every route, and answers that are streams or text. */
function completePaths(paths: Record<string, Record<string, Operation>>): void {
  for (const [name, { method, path, summary }] of Object.entries<RouteDefinition>(ROUTES)) {
    const operation = paths[openApiPath(path)]?.[method.toLowerCase()];
    if (operation === undefined) continue;
    const { 200: done, 202: waits } = operation.responses;
    if (done !== undefined) done.description = summary;
    if (waits !== undefined) waits.description = 'Another person has to approve it first';
    operation.responses['default'] = PROBLEM_RESPONSE;
    if (!isStream(name)) continue;
    const [type, schema] = STREAMS[name];
    operation.responses['200'] = { description: summary, content: { [type]: { schema } } };
  }
}

const isStream = (name: string): name is StreamRoute => Object.hasOwn(STREAMS, name);

interface Described {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object> };
}

function complete(document: Document): Document {
  const copy: Document & Described = JSON.parse(JSON.stringify(document));
  completePaths(copy.paths);
  // Each comes a second time, for input, where no route uses it.
  const { schemas } = copy.components;
  for (const name of Object.keys(schemas)) if (!Object.hasOwn(NAMED, name)) delete schemas[name];
  return copy;
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
