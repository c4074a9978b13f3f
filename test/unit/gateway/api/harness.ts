/** A real operator API for one test: HTTPS on a free port, SQLite in its own directory, keys in memory, all commands. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpsRequest, Agent, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEventFeed, type EventFeed } from '#gateway/api/events.ts';
import { readStatus } from '#gateway/api/gateway-status.ts';
import type { ApiLimits } from '#gateway/api/limits.ts';
import { createMetrics, type MetricsRegistry } from '#gateway/api/metrics.ts';
import { createApiServer, type ApiServer } from '#gateway/api/server.ts';
import { acknowledgeCommand } from '#gateway/audit/alerts-command.ts';
import { createCheckpointer, type Checkpointer } from '#gateway/audit/checkpoint.ts';
import {
  approveEnrolmentCommand,
  importCommand,
  quarantineCommand,
  refuseEnrolmentCommand,
  reBaselineCommand,
  releaseCommand,
  revokeCommand,
  ticketCommand,
  type DeviceCommandPorts,
} from '#gateway/enrolment/commands.ts';
import {
  compromiseCommand,
  destroyCommand,
  retireCommand,
  rotateCommand,
  type KeyCommandPorts,
} from '#gateway/keys/commands.ts';
import { KEK_LABEL } from '#gateway/keys/working-key.ts';
import { createCommandDesk, type CommandDesk, type CommandTable } from '#gateway/operators/command.ts';
import { foundOperator, hashToken, makeToken, operatorAddCommand } from '#gateway/operators/operator-command.ts';
import { policyApplyCommand } from '#gateway/operators/policy-command.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import * as rollout from '#gateway/rollout/commands.ts';
import { decideProgress } from '#gateway/rollout/decide.ts';
import { prepareRollout } from '#gateway/rollout/prepare.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { holdAuthorities, type HeldAuthorities } from '#gateway/trust/authorities.ts';
import { authorityCommands } from '#gateway/trust/authority-commands.ts';
import { trustPublishCommand } from '#gateway/trust/command.ts';
import { trustImportCommand } from '#gateway/trust/import.ts';
import { publishNextBundle, type NextBundlePorts } from '#gateway/trust/publish.ts';
import { rolloutPlanner } from '#gateway/wiring/plan-rollout.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import { generateTlsServerKey } from '#pki/ceremony/operational.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { COMMANDS, type CommandAction, type CommandRequest } from '#schema/api/commands.ts';
import { ROUTES, routePath, type RouteDefinition, type RouteName } from '#schema/api/routes.ts';
import { Problem, TicketInfo } from '#schema/api/views.ts';
import { OperatorName, Realm } from '#schema/ids.ts';
import type { Role } from '#schema/operators.ts';
import { Policy } from '#schema/policy.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import { seedAuthorities } from '#test/support/realm-authorities.ts';
import { createTestPki, type TestPki } from '#test/support/test-pki.ts';

export const REALM = Realm.parse('test');

export const POLICY = `version: 1
classes:
  egm: { keyTypes: [EC-P256], validity: 30d }
  service: { keyTypes: [EC-P256], validity: 30d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared }
`;

/** One operator of each role, and a second key admin and approver. */
export const PEOPLE = {
  ada: 'key-admin',
  barbara: 'key-admin',
  grace: 'device-engineer',
  hedy: 'approver',
  joan: 'approver',
  mary: 'auditor',
} as const satisfies Record<string, Role>;
export type Person = keyof typeof PEOPLE;
const isPerson = (name: string): name is Person => Object.hasOwn(PEOPLE, name);

/** The first person of each role. */
export function someone(role: Role): Person {
  const found = Object.keys(PEOPLE)
    .filter(isPerson)
    .find((name) => PEOPLE[name] === role);
  if (found === undefined) throw new Error(`nobody is ${role}`);
  return found;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** Parsed body; undefined when it is not JSON. */
  readonly body: unknown;
}

export interface Call {
  readonly params?: Readonly<Record<string, string | number>>;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ApiHarness {
  readonly store: Store;
  readonly desk: CommandDesk;
  readonly feed: EventFeed;
  readonly pki: TestPki;
  readonly metrics: MetricsRegistry;
  readonly checkpointer: Checkpointer;
  readonly auditSigner: MessageSigner;
  readonly server: ApiServer;
  readonly logged: { readonly level: string; readonly fields: object; readonly message: string }[];
  token(person: Person): string;
  /** A request by the table of routes, as the person. */
  call(person: Person, name: RouteName, call?: Call): Promise<Answer>;
  /** Any request; without a person, without a token. */
  fetch(
    method: string,
    path: string,
    options?: Call & { readonly person?: Person; readonly raw?: string | Buffer },
  ): Promise<Answer>;
  /** Opens a request and hands over the response before its body. */
  open(person: Person, path: string, headers?: Readonly<Record<string, string>>): Promise<IncomingMessage>;
  /** Takes every step of the open rollouts that follows by itself now. */
  settle(): Promise<void>;
  /** Executes a command of the key admin, with the approval of the approver where it needs one. */
  done<A extends CommandAction>(action: A, request: CommandRequest<A>): Promise<void>;
  close(): Promise<void>;
}

export interface HarnessOptions {
  readonly clock?: Clock;
  readonly port?: number;
  readonly limits?: Partial<ApiLimits>;
  /** The store as the server sees it: the real one, with a fault where the test wants one. */
  readonly served?: (store: Store) => Store;
}

/** The problem that the answer must be. */
export function problemIn(answer: Answer): Problem {
  const problem = Problem.parse(answer.body);
  if (
    answer.status !== problem.status ||
    !String(answer.headers['content-type']).startsWith('application/problem+json')
  ) {
    throw new Error(`no problem document: ${answer.status} ${answer.text}`);
  }
  return problem;
}

export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function tlsOf(pki: TestPki): Promise<{ key: string; cert: string }> {
  const key = await generateTlsServerKey('EC-P256');
  const hosts = [{ type: 'dns', value: 'localhost' } as const, { type: 'ip', value: '127.0.0.1' } as const];
  const issued = await pki.issueOperational({ kind: 'tls-server', commonName: 'localhost', spki: key.spki, hosts });
  const chain = [issued.certificate, pki.operationsCa.certificate].map((der) => encodePem('CERTIFICATE', der));
  return { key: key.privateKeyPem, cert: chain.join('') };
}

const nothing = (): void => {};

interface DeskParts {
  readonly store: Store;
  readonly pki: TestPki;
  readonly clock: Clock;
  readonly authorities: HeldAuthorities;
  readonly bundles: NextBundlePorts;
  readonly onApplied: (policy: Policy) => void;
}

/** Everything that an operator can ask for, on this store. */
function commandTable({ store, pki, clock, authorities, bundles, onApplied }: DeskParts): CommandTable {
  const base = bundles;
  const devices: DeviceCommandPorts = { ...base, onContained: nothing, onRestored: nothing };
  const rollouts = { ...base, onChange: nothing };
  const keys: KeyCommandPorts = { ...rollouts, keyStore: pki.hsm };
  return {
    'policy.apply': policyApplyCommand({
      ...base,
      keyStore: pki.hsm,
      onApplied: (applied) => onApplied(applied.policy),
    }),
    'operator.add': operatorAddCommand(store, clock),
    'device.import': importCommand(devices),
    'device.ticket': ticketCommand(devices),
    'device.quarantine': quarantineCommand(devices),
    'device.revoke': revokeCommand(devices),
    'device.release': releaseCommand(devices),
    'device.re-baseline': reBaselineCommand(devices),
    'enrolment.approve': approveEnrolmentCommand(devices),
    'enrolment.refuse': refuseEnrolmentCommand(devices),
    'enrolment.campaign': rollout.campaignCommand(rollouts),
    'alert.acknowledge': acknowledgeCommand({ store, clock, onAcknowledged: nothing }),
    'keyset.rotate': rotateCommand(keys),
    'keyset.retire': retireCommand(keys),
    'keyset.destroy': destroyCommand(keys),
    'keyset.compromise': compromiseCommand(keys),
    'rollout.pause': rollout.pauseCommand(rollouts),
    'rollout.resume': rollout.resumeCommand(rollouts),
    'rollout.abort': rollout.abortCommand(rollouts),
    'rollout.retry': rollout.retryCommand(rollouts),
    'rollout.exempt': rollout.exemptCommand(rollouts),
    'rollout.sign-off': rollout.signOffCommand(rollouts),
    'trust.publish': trustPublishCommand(bundles),
    'trust.import': trustImportCommand({ store, clock, onImported: async () => undefined }),
    ...authorityCommands({ ...bundles, keyStore: pki.hsm, operator: 'Casino', authorities }),
  };
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export async function startApi(options: HarnessOptions = {}): Promise<ApiHarness> {
  const { clock = systemClock } = options;
  const directory = mkdtempSync(join(tmpdir(), 'croupier-api-'));
  const store = await openSqliteStore({
    path: join(directory, 'croupier.db'),
    realm: REALM,
    clock,
    busyTimeoutMs: 1_000,
  });
  const pki = await createTestPki({ realm: REALM });
  await pki.hsm.generateWrappingKey(KEK_LABEL);
  await seedAuthorities(store, pki, clock.now());
  const authorities = await holdAuthorities(store, pki.hsm);
  let inForce = Policy.parse({ version: 1, classes: { egm: { keyTypes: ['EC-P256'], validity: '30d' } } });
  const policy = (): Policy => inForce;
  const bundles: NextBundlePorts = {
    store,
    clock,
    random: systemRandom,
    realm: REALM,
    policy,
    authorities: authorities.get,
    onPublished: nothing,
  };
  await publishNextBundle(bundles, { actor: { type: 'console', id: 'root' }, approval: undefined });

  const tokens = new Map<Person, string>();
  for (const person of Object.keys(PEOPLE).filter(isPerson)) {
    const token = makeToken(systemRandom);
    tokens.set(person, token);
    const operator = { name: OperatorName.parse(person), role: PEOPLE[person], tokenHash: hashToken(token) };
    const founded = (await store.countOperators(operator.role)) === 0;
    if (founded) await foundOperator(store, clock, operator, { type: 'console', id: 'root' });
    else {
      const event = { action: 'operator.add', outcome: 'success', actor: { type: 'console', id: 'test' } } as const;
      await store.addOperator({ ...operator, createdAt: clock.now(), createdBy: 'test' }, event);
    }
  }
  const token = (person: Person): string => tokens.get(person) ?? '';

  const logged: { level: string; fields: object; message: string }[] = [];
  const note = (level: string) => (fields: object, message: string) => void logged.push({ level, fields, message });
  const log = { ...silentLog, info: note('info'), warn: note('warn'), error: note('error') };
  const desk = createCommandDesk({
    store,
    clock,
    log,
    commands: commandTable({
      store,
      pki,
      clock,
      authorities,
      bundles,
      onApplied: (applied) => (inForce = applied),
    }),
  });
  const feed = createEventFeed();
  const hsm = () => pki.hsm.health();
  const metrics = createMetrics({ store, clock, policy, hsm, webhooks: () => [] });
  const checkpointer = createCheckpointer({
    store,
    clock,
    log,
    realm: REALM,
    signer: () => authorities.get().auditSigner,
    every: 3_600_000,
    records: 1_000_000,
  });
  const startedAt = clock.now();
  const info = TicketInfo.parse({
    realm: REALM,
    est: 'https://gateway:8443',
    mqtt: 'mqtts://gateway:8883',
    public: 'http://gateway:8080',
    root: createHash('sha256').update(pki.root.certificate).digest('hex'),
  });
  const server = await createApiServer({
    host: '127.0.0.1',
    port: options.port ?? 0,
    tls: await tlsOf(pki),
    version: '0.0.0',
    store: options.served?.(store) ?? store,
    desk,
    feed,
    policy,
    planRollout: rolloutPlanner(bundles),
    clock,
    log,
    status: () =>
      readStatus({
        realm: REALM,
        version: '0.0.0',
        startedAt,
        store,
        clock,
        hsm,
        ports: () => ({ est: 1, mqtt: 2, api: 3, public: 4 }),
      }),
    metrics: () => metrics.render(),
    apiMetrics: metrics.api,
    ticketInfo: () => info,
    auditExport: { store, clock, realm: REALM, root: () => pki.root.certificate, seal: () => checkpointer.seal() },
    limits: { requestBurst: 10_000, requestsPerSecond: 10_000, ...options.limits },
  });

  const agent = new Agent({ keepAlive: true, ca: encodePem('CERTIFICATE', pki.root.certificate) });
  const send = (
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string | Buffer,
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const wanted: RequestOptions = {
        host: '127.0.0.1',
        port: server.port,
        servername: 'localhost',
        method,
        path,
        agent,
        headers,
      };
      const asked = httpsRequest(wanted, resolve);
      asked.once('error', reject);
      asked.end(body);
    });
  const bearer = (person: Person | undefined): Record<string, string> =>
    person === undefined ? {} : { authorization: `Bearer ${token(person)}` };

  const fetch: ApiHarness['fetch'] = async (method, path, { person, body, raw, query, headers = {} } = {}) => {
    const search =
      query === undefined
        ? ''
        : `?${new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)])).toString()}`;
    const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const type: Record<string, string> =
      content === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(content)) };
    const response = await send(method, path + search, { ...type, ...bearer(person), ...headers }, content);
    const text = await bodyOf(response);
    return { status: response.statusCode ?? 0, headers: response.headers, text, body: parsedJson(text) };
  };

  return {
    store,
    desk,
    feed,
    pki,
    metrics,
    checkpointer,
    auditSigner: authorities.get().auditSigner,
    server,
    logged,
    token,
    fetch,
    call: (person, name, call = {}) => {
      const { method, path }: RouteDefinition = ROUTES[name];
      return fetch(method, routePath(path, call.params), { ...call, person });
    },
    open: (person, path, headers = {}) => send('GET', path, { ...bearer(person), ...headers }),
    settle: async () => {
      for (const open of await store.rollouts(true, 100)) {
        if (open.preparedAt === undefined) await prepareRollout(store, clock, open);
        let kind = 'advance';
        while (kind === 'advance') {
          const step = await store.advanceRollout(open.id, clock.now(), (current, keySet, tallies) =>
            current === undefined
              ? { kind: 'stay', until: undefined }
              : decideProgress(current, keySet, tallies, clock.now()),
          );
          ({ kind } = step);
        }
      }
    },
    done: async (action, request) => {
      COMMANDS[action].parse(request);
      const admin = await store.operatorByName(OperatorName.parse('ada'));
      const engineer = await store.operatorByName(OperatorName.parse('grace'));
      const approver = await store.operatorByName(OperatorName.parse('hedy'));
      if (admin === undefined || engineer === undefined || approver === undefined) throw new Error('nobody there');
      const asks = action.startsWith('device.') || action.startsWith('enrolment.') ? engineer : admin;
      const answer = await desk.submit(asks, action, request);
      if (answer.state === 'approval-required')
        await desk.decide(approver, answer.approval.id, 'approved', answer.approval.sha256);
    },
    close: async () => {
      await server.close();
      await checkpointer.close();
      agent.destroy();
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
