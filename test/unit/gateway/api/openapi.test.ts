import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ROUTES, type RouteDefinition, type RouteName } from '#schema/api/routes.ts';
import { ACTIONS } from '#schema/operators.ts';
import { POLICY, startApi, type ApiHarness } from './harness.ts';

const Content = z.record(z.string(), z.object({ schema: z.record(z.string(), z.unknown()) }));
const Operation = z.object({
  operationId: z.string(),
  summary: z.string(),
  description: z.string(),
  parameters: z.array(z.object({ name: z.string(), in: z.enum(['path', 'query']) })).default([]),
  requestBody: z.object({ content: Content }).optional(),
  responses: z.record(z.string(), z.object({ description: z.string(), content: Content.optional() })),
});
const Document = z.object({
  openapi: z.literal('3.1.0'),
  components: z.object({
    schemas: z.record(z.string(), z.record(z.string(), z.unknown())),
    securitySchemes: z.object({ token: z.object({ type: z.literal('http'), scheme: z.literal('bearer') }) }),
  }),
  security: z.tuple([z.object({ token: z.tuple([]) })]),
  paths: z.record(z.string(), z.record(z.string(), Operation)),
});

describe('the OpenAPI document', () => {
  let api: ApiHarness;
  let document: z.infer<typeof Document>;
  let text: string;
  beforeAll(async () => {
    api = await startApi();
    const answer = await api.fetch('GET', '/v1/openapi.json');
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    text = answer.text;
    document = Document.parse(answer.body);
  });
  afterAll(() => api.close());

  const pathOf = (path: string): string => path.replaceAll(/:([a-z]+)/g, '{$1}');
  const operationOf = ({ method, path }: RouteDefinition): z.infer<typeof Operation> | undefined =>
    document.paths[pathOf(path)]?.[method.toLowerCase()];

  test.each(Object.entries<RouteDefinition>(ROUTES))('%s stands in it with its parts', (name, route) => {
    const operation = operationOf(route);
    expect(operation?.operationId).toBe(name);
    const names = (where: string): string[] =>
      operation?.parameters.filter((one) => one.in === where).map((one) => one.name) ?? [];
    expect(names('path')).toEqual(Object.keys(route.params?.shape ?? {}));
    expect(names('query')).toEqual(Object.keys(route.query?.shape ?? {}));
    expect(operation?.requestBody !== undefined).toBe(route.body !== undefined);
    expect(Object.keys(operation?.responses ?? {})).toEqual([
      '200',
      ...(route.answers === 'command' ? ['202'] : []),
      'default',
    ]);
  });

  test('it has nothing that the table of routes has not', () => {
    const count = Object.values(document.paths).flatMap((methods) => Object.keys(methods)).length;
    expect(count).toBe(Object.keys(ROUTES).length);
  });

  test('every reference leads somewhere', () => {
    const references = [...text.matchAll(/"\$ref":"([^"]*)"/g)].map(([, reference = '']) => reference);
    expect(references.length).toBeGreaterThan(50);
    for (const reference of new Set(references)) {
      expect(Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`)).toContain(
        reference,
      );
    }
  });

  test('every schema is JSON Schema 2020-12, and real answers satisfy theirs', async () => {
    const ajv = new Ajv2020({ strict: false, allErrors: true });
    addFormats.default(ajv);
    ajv.addFormat('base64', true);
    ajv.addSchema({ $id: 'api', components: document.components });
    const compile = (schema: object) =>
      ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"api#/components')));
    for (const operation of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
      for (const { content } of [operation.requestBody, ...Object.values(operation.responses)].filter(
        (part) => part !== undefined,
      )) {
        for (const { schema } of Object.values(content ?? {})) compile(schema);
      }
    }

    await api.done('policy.apply', { document: POLICY, replaces: null });
    const answers: [RouteName, number, unknown][] = [];
    for (const name of [
      'status.show',
      'self.show',
      'device.list',
      'keyset.list',
      'trust.list',
      'operator.list',
      'policy.show',
      'audit.records',
      'audit.head',
      'approval.list',
    ] as const) {
      const { status, body } = await api.call('mary', name);
      answers.push([name, status, body]);
    }
    const rotate = await api.call('ada', 'keyset.rotate', { params: { name: 'wallet-kek' }, body: {} });
    answers.push(['keyset.rotate', rotate.status, rotate.body]);
    for (const [name, status, body] of answers) {
      const schema = operationOf(ROUTES[name])?.responses[String(status)]?.content?.['application/json']?.schema;
      if (schema === undefined) throw new Error(`${name} has no schema for ${status}`);
      const validate = compile(schema);
      expect(validate(body), `${name}: ${JSON.stringify(validate.errors)}`).toBe(true);
      expect(validate('no such answer')).toBe(false);
    }
    const problem = compile({ $ref: '#/components/schemas/Problem' });
    expect(problem((await api.fetch('GET', '/v1/nothing')).body)).toBe(true);
  });
});

test('each action that exists is on a route', () => {
  const routed = new Set<string>(Object.values<RouteDefinition>(ROUTES).map(({ action }) => action));
  expect(ACTIONS.filter((action) => !routed.has(action))).toEqual([]);
});
