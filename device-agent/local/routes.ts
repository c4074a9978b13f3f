/** What the socket answers: from a parsed request to a status and a document. No sockets here. */
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import { parseJson, parseWith } from '#schema/parse.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AgentView, IdentityView } from '../view.ts';
import { BusyRequest, DEFAULT_LEASE_HOLDER, LeaseHolder, type BusyLeases } from './busy-leases.ts';
import {
  findKeyring,
  identityDocument,
  keyDocuments,
  keyringDocument,
  privateKeyPem,
  trustDocument,
} from './documents.ts';
import { RequestRefused } from './problem.ts';

export interface LocalContext {
  readonly view: AgentView;
  readonly busy: BusyLeases;
  readonly clock: Clock;
  /** Where the exporter keeps the private key as a file; undefined when nothing is exported. */
  readonly identityKeyFile: string | undefined;
  /** What the agent itself adds to `/health`, such as its connection. */
  readonly connection: (() => Readonly<Record<string, unknown>>) | undefined;
}

export interface LocalRequest {
  readonly method: string;
  /** Path segments, decoded. */
  readonly path: readonly string[];
  readonly query: Readonly<Record<string, string>>;
  readonly body: string;
}

export type LocalAnswer =
  | { readonly kind: 'document'; readonly status: number; readonly document: object }
  | { readonly kind: 'watch'; readonly after: number | undefined };

const wholeNumber = z
  .string()
  .regex(/^\d{1,15}$/, 'not a whole number')
  .transform(Number);

const NoQuery = z.strictObject({});
const KeyQuery = z.strictObject({ version: wholeNumber.pipe(KeyVersionNumber).optional() });
const IdentityQuery = z.strictObject({ key: z.enum(['0', '1'], 'not 0 or 1').optional() });
const WatchQuery = z.strictObject({ after: wholeNumber.optional() });
const ReleaseQuery = z.strictObject({
  holder: LeaseHolder.default(DEFAULT_LEASE_HOLDER),
  keySet: KeySetName.optional(),
});

const ok = (document: object): LocalAnswer => ({ kind: 'document', status: 200, document });

type Handler = (context: LocalContext, request: LocalRequest) => LocalAnswer;

/** By path, then method; `keys/:set` stands for every key set. */
const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  keys: { GET: listKeyrings },
  'keys/:set': { GET: showKeys },
  identity: { GET: showIdentity },
  trust: { GET: showTrust },
  watch: { GET: watch },
  health: { GET: showHealth },
  busy: { GET: listBusy, PUT: putBusy, DELETE: releaseBusy },
};

/**
 * Errors: `RequestRefused` (404, 405) for what is not offered, `input.invalid` for parameters, and what each answer
 * names: `keyset.*`, `agent.not-enrolled`, `json.malformed`.
 */
export function answer(context: LocalContext, request: LocalRequest): LocalAnswer {
  const [first, second, ...rest] = request.path;
  const route =
    rest.length > 0 || first === undefined ? '' : second === undefined ? first : first === 'keys' ? 'keys/:set' : '';
  const methods = Object.hasOwn(ROUTES, route) ? ROUTES[route] : undefined;
  if (methods === undefined)
    throw new RequestRefused(404, `there is no /${request.path.join('/')} here; see docs/agent.md`);
  const handler = Object.hasOwn(methods, request.method) ? methods[request.method] : undefined;
  if (handler === undefined) {
    throw new RequestRefused(
      405,
      `/${request.path.join('/')} takes ${Object.keys(methods).join(', ')}, not ${request.method}`,
    );
  }
  return handler(context, request);
}

function parseQuery<Schema extends z.ZodType>(schema: Schema, request: LocalRequest): z.infer<Schema> {
  return parseWith(schema, request.query, 'input.invalid', 'the query');
}

function listKeyrings({ view }: LocalContext, request: LocalRequest): LocalAnswer {
  parseQuery(NoQuery, request);
  return ok({ generation: view.generation(), keyrings: view.keyrings().map(keyringDocument) });
}

function showKeys({ view }: LocalContext, request: LocalRequest): LocalAnswer {
  const { version } = parseQuery(KeyQuery, request);
  const keySet = parseWith(KeySetName, request.path[1], 'input.invalid', 'the key set');
  const keyring = findKeyring(view, keySet);
  const { versions: _, ...head } = keyringDocument(keyring);
  return ok({ generation: view.generation(), ...head, keys: keyDocuments(view, keyring, version) });
}

function needIdentity(view: AgentView): IdentityView {
  const identity = view.identity();
  if (identity === undefined) throw new CroupierError('agent.not-enrolled');
  return identity;
}

function showIdentity({ view, identityKeyFile }: LocalContext, request: LocalRequest): LocalAnswer {
  const { key } = parseQuery(IdentityQuery, request);
  const identity = needIdentity(view);
  const secret = key === '1' ? { key: privateKeyPem(identity) } : {};
  return ok({
    generation: view.generation(),
    ...identityDocument(identity),
    keyFile: identityKeyFile ?? null,
    ...secret,
  });
}

function showTrust({ view }: LocalContext, request: LocalRequest): LocalAnswer {
  parseQuery(NoQuery, request);
  const trust = view.trust();
  if (trust === undefined) throw new CroupierError('agent.not-enrolled', 'the device holds no trust bundle yet');
  return ok({ generation: view.generation(), ...trustDocument(trust) });
}

function watch(_: LocalContext, request: LocalRequest): LocalAnswer {
  const { after } = parseQuery(WatchQuery, request);
  return { kind: 'watch', after };
}

function showHealth({ view, busy, clock, connection }: LocalContext, request: LocalRequest): LocalAnswer {
  parseQuery(NoQuery, request);
  const identity = view.identity();
  const now = clock.now();
  const state = identity === undefined ? 'not-enrolled' : identity.notAfter <= now ? 'certificate-expired' : 'ok';
  const held =
    identity === undefined
      ? {}
      : {
          realm: identity.realm,
          device: identity.device,
          serial: identity.serial,
          notAfter: identity.notAfter.toISOString(),
        };
  const document = {
    status: state,
    now: now.toISOString(),
    generation: view.generation(),
    ...held,
    trustVersion: view.trust()?.version ?? 0,
    keySets: view.keyrings().map(({ keySet, active }) => ({ keySet, active })),
    busy: busy.list(),
    ...connection?.(),
  };
  return { kind: 'document', status: state === 'ok' ? 200 : 503, document };
}

function listBusy({ busy }: LocalContext, request: LocalRequest): LocalAnswer {
  parseQuery(NoQuery, request);
  return ok({ leases: busy.list() });
}

function putBusy({ busy, view }: LocalContext, request: LocalRequest): LocalAnswer {
  parseQuery(NoQuery, request);
  const wanted = parseJson(BusyRequest, request.body, 'json.malformed', 'the busy request');
  // A lease on a misspelt key set would protect nothing.
  if (wanted.keySet !== undefined) findKeyring(view, wanted.keySet);
  return ok({ lease: busy.put(wanted) });
}

function releaseBusy({ busy }: LocalContext, request: LocalRequest): LocalAnswer {
  const { holder, keySet } = parseQuery(ReleaseQuery, request);
  return ok({ released: busy.release(holder, keySet) });
}
