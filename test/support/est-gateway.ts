/**
 * The enrolment side of a gateway, whole: ceremonies, SQLite store, decisions, EST listener on a free port; and devices
 * that ask it over real sockets. Only the keys of the CAs are in memory, and the clock moves when told.
 */
import { Buffer } from 'node:buffer';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { SecureVersion, TLSSocket } from 'node:tls';
import { generateTlsServerKey } from '#pki/ceremony/operational.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import { decodeCertsOnly } from '#pki/cms/certs-only.ts';
import { createCsr } from '#pki/csr/create.ts';
import { decodeBase64, encodeBase64 } from '#pki/est/base64.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import { exportPrivateKeyPem, generateSoftwareKey, type SoftwareKey } from '#pki/keys/software-key.ts';
import type { AuditRecord } from '#schema/audit.ts';
import { DeviceId, Realm } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { Policy, type PolicyDocument } from '#schema/policy.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import * as commands from '#gateway/enrolment/commands.ts';
import { createEnrolment, type EnrolmentAnswer, type EnrolmentInput } from '#gateway/enrolment/enrol.ts';
import { hashNewCode, makeTicketCode } from '#gateway/enrolment/ticket-code.ts';
import { createEstServer, type EstServer, type EstServerOptions, type EstTls } from '#gateway/est/server.ts';
import { silentLog, type Log } from '#gateway/ports/log.ts';
import { silentMetrics } from '#gateway/ports/metrics.ts';
import type { EnrolmentRequest } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { createTestPki, currentSecond, type TestPki } from './test-pki.ts';

export const DAY = 86_400_000;

const POLICY: PolicyDocument = {
  version: 1,
  classes: {
    egm: { keyTypes: ['EC-P256', 'EC-P384', 'RSA-2048'], validity: '90d', grace: '30d' },
    kiosk: { keyTypes: ['EC-P384', 'EC-P256'], validity: '30d', grace: '0s' },
  },
  enrolment: { parkedRetry: '2s', maxParked: 50 },
};

/** Bodies of openssl's and strongSwan's requests vary; these are what the tests send. */
export interface EstRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly identity?: EstIdentity | undefined;
  readonly tlsVersion?: SecureVersion;
  /** Makes the body once the connection stands, for channel bindings. */
  readonly bodyFor?: (socket: TLSSocket) => Promise<string>;
}

export interface EstResponse {
  readonly status: number;
  /** Names and values in turn, as received. */
  readonly rawHeaders: readonly string[];
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** A certificate, DER, with its key. */
export interface EstIdentity {
  readonly certificate: Uint8Array;
  readonly key: SoftwareKey;
}

export interface EstGateway {
  readonly pki: TestPki;
  readonly directory: string;
  readonly clock: ManualClock;
  readonly policy: Policy;
  readonly port: number;
  readonly url: string;
  readonly tls: EstTls;
  readonly server: EstServer;
  readonly store: Store;
  readonly enrol: (input: EnrolmentInput) => Promise<EnrolmentAnswer>;
  register(id: string, deviceClass?: string): Promise<void>;
  /** A ticket for the device; returns its one-time code. */
  ticket(id: string, validMs?: number): Promise<string>;
  /** A request that waits for approval, once there is one. */
  pendingRequest(): Promise<EnrolmentRequest>;
  approve(request: EnrolmentRequest, device?: string): Promise<void>;
  refuse(request: EnrolmentRequest): Promise<void>;
  quarantine(id: string): Promise<void>;
  revoke(id: string): Promise<void>;
  auditRecords(): Promise<readonly AuditRecord[]>;
  ask(request: EstRequest): Promise<EstResponse>;
  /** The process ends and another one starts on the same database and HSM. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface EstGatewayOptions {
  readonly realm?: string;
  readonly policy?: Partial<PolicyDocument>;
  readonly failuresPerMinute?: number;
  readonly limits?: EstServerOptions['limits'];
  readonly log?: Log;
  /** What signs for the Device CA until the next restart, instead of its key in the HSM. */
  readonly signer?: (real: Signer) => Signer;
}

async function tlsOf(pki: TestPki): Promise<EstTls> {
  const { privateKeyPem, spki } = await generateTlsServerKey('EC-P256');
  const { certificate } = await pki.issueOperational({
    kind: 'tls-server',
    commonName: 'gateway',
    spki,
    hosts: [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: '127.0.0.1' },
    ],
  });
  const chain = [certificate, pki.operationsCa.certificate].map((der) => encodePem('CERTIFICATE', der)).join('');
  return { key: privateKeyPem, cert: chain, clientCas: [encodePem('CERTIFICATE', pki.deviceCa.certificate)] };
}

export async function startEstGateway(options: EstGatewayOptions = {}): Promise<EstGateway> {
  const { failuresPerMinute = 10_000, log = silentLog, limits = {} } = options;
  const realm = Realm.parse(options.realm ?? 'test');
  const pki = await createTestPki({ realm });
  const clock = new ManualClock(currentSecond());
  const policy = Policy.parse({ ...POLICY, ...options.policy });
  const directory = await mkdtemp(join(tmpdir(), 'croupier-est-'));
  const tls = await tlsOf(pki);
  let deviceSigner = options.signer?.(pki.deviceCa.signer) ?? pki.deviceCa.signer;

  const open = async (): Promise<{ store: Store; server: EstServer; enrol: EstGateway['enrol'] }> => {
    const store = await openSqliteStore({ path: join(directory, 'croupier.db'), realm, clock, busyTimeoutMs: 1000 });
    const enrol = createEnrolment({
      realm,
      operator: pki.setting.operator,
      store,
      clock,
      random: systemRandom,
      log,
      metrics: silentMetrics,
      policy: () => policy,
      authority: () => ({ issuer: pki.deviceCa.issuer, signer: deviceSigner, keyLabel: 'device-ca-1' }),
      crlUrl: () => 'http://gateway.casino.example/crl',
    });
    const server = await createEstServer({
      host: '127.0.0.1',
      port: 0,
      realm,
      tls,
      enrol,
      cacerts: () => [pki.deviceCa.certificate, pki.operationsCa.certificate, pki.root.certificate],
      policy: () => policy,
      failuresPerMinute,
      clock,
      log,
      limits,
    });
    return { store, server, enrol };
  };
  let running = await open();

  const authority = { actor: { type: 'operator', id: 'ada' }, approval: undefined } as const;
  const ports = (): commands.DeviceCommandPorts => ({
    store: running.store,
    clock,
    random: systemRandom,
    policy: () => policy,
    onContained: () => {},
    onRestored: () => {},
  });
  const ask = (request: EstRequest): Promise<EstResponse> => askEst(running.server.port, pki.root.certificate, request);

  return {
    pki,
    directory,
    clock,
    policy,
    tls,
    get port() {
      return running.server.port;
    },
    get url() {
      return `https://localhost:${running.server.port}`;
    },
    get server() {
      return running.server;
    },
    get store() {
      return running.store;
    },
    enrol: (input) => running.enrol(input),
    register: async (id, deviceClass = 'egm') => {
      const row = { id, class: deviceClass, site: 'main-floor', serial: `SN-${id}`, labels: {} };
      await commands.importCommand(ports()).execute({ rows: [InventoryRow.parse(row)] }, authority);
    },
    ticket: async (id, validMs = 3 * DAY) => {
      const code = makeTicketCode(systemRandom);
      const now = clock.now();
      await running.store.addTicket(
        {
          id: systemRandom.uuid(),
          device: DeviceId.parse(id),
          ...hashNewCode(code, systemRandom),
          createdAt: now,
          createdBy: 'ada',
          expiresAt: new Date(now.getTime() + validMs),
        },
        { action: 'device.ticket', outcome: 'success', ...authority },
      );
      return code;
    },
    pendingRequest: async () => {
      // Programs that ask take a moment to come.
      for (const end = performance.now() + 15_000; performance.now() < end; await delay(10)) {
        const [request] = await running.store.enrolmentRequests('pending', 1);
        if (request !== undefined) return request;
      }
      throw new Error('no request came to wait for approval');
    },
    approve: async ({ id }, device) => {
      const assigned = device === undefined ? {} : { device: DeviceId.parse(device) };
      await commands.approveEnrolmentCommand(ports()).execute({ enrolment: id, ...assigned }, authority);
    },
    refuse: async ({ id }) => {
      await commands.refuseEnrolmentCommand(ports()).execute({ enrolment: id, reason: 'nobody knows it' }, authority);
    },
    quarantine: async (id) => {
      await commands
        .quarantineCommand(ports())
        .execute({ device: DeviceId.parse(id), reason: 'seen twice' }, authority);
    },
    revoke: async (id) => {
      await commands.revokeCommand(ports()).execute({ device: DeviceId.parse(id), reason: 'stolen' }, authority);
    },
    auditRecords: () => running.store.auditRecords(0, 1000),
    ask,
    restart: async () => {
      await running.server.close();
      await running.store.close();
      deviceSigner = pki.deviceCa.signer;
      running = await open();
    },
    stop: async () => {
      await running.server.close();
      await running.store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** One request on a connection of its own; the server is judged by the root. */
export function askEst(port: number, root: Uint8Array, options: EstRequest): Promise<EstResponse> {
  const { method = 'GET', path, headers = {}, body, identity, tlsVersion, bodyFor } = options;
  return new Promise((resolve, reject) => {
    const request = httpsRequest({
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      path,
      method,
      headers,
      agent: false,
      ca: encodePem('CERTIFICATE', root),
      ...(tlsVersion === undefined ? {} : { minVersion: tlsVersion, maxVersion: tlsVersion }),
      ...(identity === undefined
        ? {}
        : { cert: encodePem('CERTIFICATE', identity.certificate), key: exportPrivateKeyPem(identity.key.privateKey) }),
    });
    request.once('error', reject);
    request.once('response', (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.once('error', reject);
      response.once('end', () => {
        const { rawHeaders, statusCode: status = 0 } = response;
        const named = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const);
        resolve({
          status,
          rawHeaders,
          headers: Object.fromEntries(named),
          body: Buffer.concat(parts).toString('utf8'),
        });
      });
    });
    if (bodyFor === undefined) {
      request.end(body);
      return;
    }
    request.once('socket', (socket) => {
      socket.once('secureConnect', () => {
        bodyFor(socket as TLSSocket).then((text) => request.end(text), reject);
      });
    });
  });
}

export interface TestDevice {
  readonly id: string;
  readonly key: SoftwareKey;
  /** DER. */
  readonly csr: Uint8Array;
}

/** A device with a fresh key and a request for it. */
export async function newDevice(id: string, algorithm: KeyAlgorithm = 'EC-P256'): Promise<TestDevice> {
  const key = await generateSoftwareKey(algorithm);
  return { id, key, csr: await createCsr({ subject: { commonName: id }, signer: key.signer }) };
}

export interface EnrolOptions {
  readonly code?: string | undefined;
  readonly user?: string;
  readonly identity?: EstIdentity | undefined;
  readonly label?: string;
  readonly operation?: 'simpleenroll' | 'simplereenroll';
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The request of a device to enrol: with a code by ticket, with an identity to renew, with neither as a stranger. */
export function enrolRequest({ id, csr }: Pick<TestDevice, 'id' | 'csr'>, options: EnrolOptions = {}): EstRequest {
  const { code, user = id, identity, label, body = encodeBase64(csr) } = options;
  const operation =
    options.operation ?? (identity !== undefined && code === undefined ? 'simplereenroll' : 'simpleenroll');
  const basic = Buffer.from(`${user}:${code ?? ''}`).toString('base64');
  return {
    method: 'POST',
    path: `/.well-known/est/${label === undefined ? '' : `${label}/`}${operation}`,
    headers: {
      'Content-Type': 'application/pkcs10',
      ...(code === undefined ? {} : { Authorization: `Basic ${basic}` }),
      ...options.headers,
    },
    body,
    identity,
  };
}

/** The one certificate, DER, of an enrolment answer. */
export function certificateOf(response: EstResponse): Uint8Array {
  if (response.status !== 200) {
    throw new Error(`not issued: ${response.status} ${response.headers['croupier-error'] ?? ''} ${response.body}`);
  }
  const [certificate, ...more] = decodeCertsOnly(decodeBase64(response.body, { maxBytes: 65_536 }));
  if (certificate === undefined || more.length > 0) throw new Error('the answer holds not exactly one certificate');
  return certificate;
}

/** Registers a device and enrols it by ticket; what it then holds. */
export async function enrolledDevice(
  gateway: EstGateway,
  id: string,
  deviceClass = 'egm',
): Promise<TestDevice & EstIdentity> {
  await gateway.register(id, deviceClass);
  const device = await newDevice(id);
  const answer = await gateway.ask(enrolRequest(device, { code: await gateway.ticket(id) }));
  return { ...device, certificate: certificateOf(answer) };
}
