/**
 * A gateway and a few devices under one virtual clock: the real decisions, store, broker rules and agents; only the
 * network between them, the keys' hardware and the time are of the test. Everything that crosses a port is shown to
 * the oracles.
 */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createAgent, type Agent, type StateStore, type Transport, type TransportRequest } from '#agent/agent.ts';
import { newState, type AgentState, type IdentitySlot } from '#agent/state/state.ts';
import { createMemoryBroker, type MemoryBroker } from '#gateway/broker/memory.ts';
import { createDispatcher } from '#gateway/delivery/dispatcher.ts';
import { createIntake } from '#gateway/delivery/intake.ts';
import { createPresenceKeeper } from '#gateway/delivery/presence.ts';
import { createClientAuthorizer } from '#gateway/enrolment/client-certificate.ts';
import { quarantineCommand, releaseCommand } from '#gateway/enrolment/commands.ts';
import { destroyCommand, retireCommand, rotateCommand, type KeyCommandPorts } from '#gateway/keys/commands.ts';
import { KEK_LABEL } from '#gateway/keys/working-key.ts';
import type { Authority } from '#gateway/operators/command.ts';
import { parsePolicy, policyApplyCommand } from '#gateway/operators/policy-command.ts';
import type { Broker, ClientAuthorizer } from '#gateway/ports/broker.ts';
import { silentLog } from '#gateway/ports/log.ts';
import { silentMetrics } from '#gateway/ports/metrics.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { createPublicServer, type PublicServer } from '#gateway/public/server.ts';
import { createRolloutDriver } from '#gateway/rollout/driver.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import { announceTrust, publishTrustBundle } from '#gateway/trust/publish.ts';
import { deviceUri } from '#pki/certificate/device-uri.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { exportPrivateKeyPem, generateSoftwareKey } from '#pki/keys/software-key.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, KeySetName, Serial, Sha256, type RolloutId } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import type { Policy } from '#schema/policy.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { seededRandom, type Random } from '#schema/runtime/random.ts';
import { MessageAuthority } from '#test/support/message-authority.ts';
import type { Oracles } from './oracles.ts';

export const WALLET = KeySetName.parse('wallet-kek');
export const REPORT_MAC = KeySetName.parse('report-mac');
export const DEVICES = ['egm-1', 'egm-2', 'service-1'].map((id) => DeviceId.parse(id));
export const isService = (device: DeviceId): boolean => device.startsWith('service');

const POLICY = `version: 1
classes:
  egm: { keyTypes: [EC-P256], validity: 365d }
  service: { keyTypes: [EC-P256], validity: 365d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared }
  report-mac: { algorithm: HMAC-SHA256, use: mac, scope: per-device, selector: { class: [egm] } }
delivery: { resendAfter: 10s, resendMax: 60s, stallAfter: 120s }
`;

const ADA: Authority = { actor: { type: 'operator', id: 'ada', role: 'key-admin' }, approval: undefined };
const AGENT_TIMING = { backoffMinMs: 500, backoffMaxMs: 5_000, timeoutMs: 5_000, refusalIntervalMs: 20_000 };
const QUIET_TURNS = 10;
const MANY_TURNS = 200_000;

export interface Faults {
  readonly lose: number;
  readonly duplicate: number;
  readonly maxDelayMs: number;
}

export const NO_FAULTS: Faults = { lose: 0, duplicate: 0, maxDelayMs: 0 };

/** Where a process ends as by a power cut: at the call with this number from now, before it takes effect or after. */
export interface CrashPoint {
  readonly after: number;
  readonly isDurable: boolean;
}

const never = <T>(): Promise<T> => new Promise<T>(() => undefined);

/** What all runs share, since ceremonies take time: a realm, devices with certificates, a database to start from. */
export class FloorTemplate {
  readonly authority: MessageAuthority;
  readonly policy: Policy = parsePolicy(POLICY);
  readonly directory: string;
  readonly identities: ReadonlyMap<DeviceId, IdentitySlot>;
  readonly signers: readonly MessageSigner[];
  readonly database: string;

  private constructor(
    authority: MessageAuthority,
    directory: string,
    identities: ReadonlyMap<DeviceId, IdentitySlot>,
    signers: readonly MessageSigner[],
  ) {
    this.authority = authority;
    this.directory = directory;
    this.identities = identities;
    this.signers = signers;
    this.database = path.join(directory, 'template.db');
  }

  get start(): Date {
    return new Date(this.authority.pki.setting.now.getTime() + 60_000);
  }

  static async make(): Promise<FloorTemplate> {
    const authority = await MessageAuthority.create();
    await authority.pki.hsm.generateWrappingKey(KEK_LABEL);
    const names = Array.from({ length: 8 }, (_, index) => `signer ${index}`);
    const signers = await Promise.all(names.map((name) => authority.newSigner(name)));
    const identities = new Map<DeviceId, IdentitySlot>();
    for (const id of DEVICES) identities.set(id, await identityOf(authority, id));
    const template = new FloorTemplate(
      authority,
      await mkdtemp(path.join(tmpdir(), 'croupier-floor-')),
      identities,
      signers,
    );
    await template.fill();
    return template;
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true, force: true });
  }

  private async fill(): Promise<void> {
    const { authority, start } = this;
    const clock = new ManualClock(start);
    const sqlite = openDatabase(this.database, 1_000);
    const store = await storeOn(sqlite, authority.realm, clock);
    const ports = { realm: authority.realm, store, clock, policy: () => this.policy, keyStore: authority.pki.hsm };
    await policyApplyCommand({ ...ports, onApplied: () => undefined }).execute(
      { document: POLICY, replaces: null },
      ADA,
    );
    await publishTrustBundle(ports, { ...bundleParts(this, 0), actor: ADA.actor, approval: undefined });
    const event = { action: 'test.enrol', outcome: 'success', actor: ADA.actor } as const;
    const rows = DEVICES.map((id) =>
      InventoryRow.parse({ id, class: classOf(id), site: 'main', serial: id, labels: {} }),
    );
    await store.importDevices(rows, start, event);
    for (const [device, { certificate }] of this.identities) {
      const { serialNumber, notBefore, notAfter, spkiSha256 } = parseCertificate(certificate);
      const [serial, spki] = [Serial.parse(serialNumber), Sha256.parse(spkiSha256)];
      const intent = {
        freshStart: true,
        serial,
        device,
        issuer: 'device-ca',
        csrSha256: spki,
        spkiSha256: spki,
        tbs: certificate,
        notBefore,
        notAfter,
        createdAt: start,
      };
      const query = { device, csrSha256: spki, spkiSha256: spki, presented: undefined };
      await store.decideEnrolment(query, () => ({
        kind: 'issue',
        intent,
        ticket: undefined,
        request: undefined,
        audit: [event],
      }));
      await store.completeCertificate(
        serial,
        certificate,
        Sha256.parse(certificateFingerprint(certificate)),
        start,
        event,
      );
      await store.promoteCertificate(serial, start);
    }
    sqlite.pragma('wal_checkpoint(TRUNCATE)');
    await store.close();
  }
}

const classOf = (device: DeviceId): string => device.replace(/-\d+$/, '');

async function identityOf(authority: MessageAuthority, id: DeviceId): Promise<IdentitySlot> {
  const { privateKey, signer } = await generateSoftwareKey('EC-P256');
  const name = { realm: authority.realm, site: 'main', class: classOf(id), id };
  const certificate = await authority.pki.issueDevice(signer.spki, {
    subject: { commonName: id, organizationalUnit: name.class, organization: authority.pki.setting.operator },
    subjectAltNames: [{ type: 'uri', value: deviceUri(name) }],
  });
  return { privateKey: exportPrivateKeyPem(privateKey), certificate, chain: [authority.pki.deviceCa.certificate] };
}

/** The bundle whose current signer has this number; the next one stands by. */
function bundleParts({ authority, signers }: FloorTemplate, generation: number) {
  const { root, deviceCa, operationsCa } = authority.pki;
  const current = signers[generation];
  const standby = signers[generation + 1];
  if (current === undefined || standby === undefined) throw new Error('there are no more signers');
  const anchors = {
    identity: [deviceCa.certificate],
    transport: [root.certificate],
    messages: [operationsCa.certificate],
    others: {},
  };
  return { anchors, current, standby };
}

/** The request that a diagnostics channel of node:http tells about. */
function requestOf(message: unknown): unknown {
  return typeof message === 'object' && message !== null && 'request' in message ? message.request : undefined;
}

/** One life of the gateway's process, from start to stop or kill. */
class GatewayLife {
  /** For operators and tests: no crash point is counted here. */
  readonly console: Store;
  readonly broker: MemoryBroker;
  readonly authorize: ClientAuthorizer;
  readonly ring: () => void;
  isDead = false;
  readonly death = Promise.withResolvers<undefined>();
  private readonly world: FloorWorld;
  private readonly real: Store;
  private readonly stops: readonly (() => Promise<void>)[];

  constructor(world: FloorWorld, real: Store) {
    this.world = world;
    const { template, clock, random } = world;
    const { realm, pki } = template.authority;
    this.real = real;
    const store = this.shown(real, (name, run) => this.call(world, name, run));
    this.console = this.shown(real, async (name, run) => {
      const result = await run();
      world.oracles.storeAnswered(name, result);
      return result;
    });
    this.broker = createMemoryBroker({ realm, clock, random });
    const broker = this.watched(world, this.broker);
    this.authorize = createClientAuthorizer(store, clock, silentMetrics);
    const ports = {
      realm,
      store,
      broker,
      clock,
      log: silentLog,
      metrics: silentMetrics,
      policy: () => template.policy,
    };
    const dispatcher = createDispatcher({ ...ports, keyStore: pki.hsm, signer: () => world.signer });
    const rollouts = createRolloutDriver({ store, clock, log: silentLog, onDue: () => dispatcher.ring() });
    this.ring = () => {
      dispatcher.ring();
      rollouts.ring();
    };
    const intake = createIntake({ ...ports, onDue: () => dispatcher.ring(), onProgress: () => rollouts.ring() });
    const presence = createPresenceKeeper(store, clock, silentLog, this.ring);
    broker.onReport(intake.accept);
    broker.onPresence(presence.note);
    this.stops = [presence, intake, rollouts, dispatcher].map((worker) => () => worker.stop());
  }

  async stop(): Promise<void> {
    this.world.gatewayCrash = undefined;
    await this.broker.close();
    // A worker that waits for the clock ends when its time has come.
    const stopped = Promise.all(this.stops.map((stop) => stop()));
    await this.world.advance(1_000);
    await stopped;
    await this.console.close();
    this.isDead = true;
  }

  /** Nothing is done any more. */
  kill(): void {
    if (this.isDead) return;
    this.isDead = true;
    this.death.resolve(undefined);
    for (const stop of this.stops) void stop();
    // What it was writing is on the disk, and nobody was told.
    void this.real.close();
    void this.broker.close();
  }

  private shown(real: Store, call: (name: string, run: () => unknown) => Promise<unknown>): Store {
    return new Proxy(real, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name);
        if (typeof method !== 'function') return method;
        return (...args: unknown[]) =>
          this.world.during(() => call(String(name), () => Reflect.apply(method, target, args)));
      },
    });
  }

  private async call(world: FloorWorld, name: string, run: () => unknown): Promise<unknown> {
    if (this.isDead) return world.abandoned();
    const crash = world.gatewayCrash;
    if (crash !== undefined) world.gatewayCrash = crash.after === 0 ? undefined : { ...crash, after: crash.after - 1 };
    const isLast = crash?.after === 0;
    if (isLast && !crash.isDurable) return this.end(world);
    const result = await run();
    world.oracles.storeAnswered(name, result);
    return isLast ? this.end(world) : result;
  }

  private end(world: FloorWorld): unknown {
    this.kill();
    return world.abandoned();
  }

  private watched(world: FloorWorld, broker: Broker): Broker {
    return {
      ...broker,
      publish: async (topic, payload, options) => {
        if (this.isDead) return never();
        world.oracles.gatewayPublishes(topic, payload);
        return broker.publish(topic, payload, options);
      },
      onReport: (handler) => broker.onReport(handler),
      onPresence: (handler) => broker.onPresence(handler),
      isConnected: (device) => broker.isConnected(device),
      connectedDevices: () => broker.connectedDevices(),
      disconnect: (device) => broker.disconnect(device),
      close: () => broker.close(),
    };
  }
}

/** One device: its durable state outlives its agents. */
class Device {
  readonly id: DeviceId;
  state: AgentState;
  agent: Agent | undefined;
  isAway = false;
  crash: CrashPoint | undefined;
  drop: (() => void) | undefined;
  private readonly world: FloorWorld;

  constructor(world: FloorWorld, id: DeviceId, state: AgentState) {
    this.world = world;
    this.id = id;
    this.state = state;
  }

  async on(): Promise<void> {
    const { world } = this;
    world.oracles.deviceStarts(this.id, this.state);
    this.agent = createAgent({
      state: this.durable(),
      clock: world.clock,
      random: world.random,
      timing: AGENT_TIMING,
      transport: (request) => world.connect(this, request),
    });
    await this.agent.start();
  }

  powerCut(): void {
    this.agent?.kill();
    this.agent = undefined;
  }

  private durable(): StateStore {
    const life = { isOver: false };
    return {
      load: async () => this.state,
      commit: async (next) => {
        this.world.activity += 1;
        if (life.isOver) throw new CroupierError('store.unavailable');
        const crash = this.crash;
        if (crash !== undefined) this.crash = crash.after === 0 ? undefined : { ...crash, after: crash.after - 1 };
        const isLast = crash?.after === 0;
        if (!isLast || crash.isDurable) {
          const before = this.state;
          this.state = next;
          this.world.oracles.deviceCommits(this.id, before, next);
        }
        if (!isLast) return;
        life.isOver = true;
        this.powerCut();
        this.world.deadDevices.add(this.id);
        return never();
      },
      close: async () => undefined,
    };
  }
}

export class FloorWorld {
  readonly template: FloorTemplate;
  readonly clock: ManualClock;
  readonly random: Random;
  readonly oracles: Oracles;
  readonly devices = new Map<DeviceId, Device>();
  /** Devices that a crash point has switched off. */
  readonly deadDevices = new Set<DeviceId>();
  gateway: GatewayLife | undefined;
  gatewayCrash: CrashPoint | undefined;
  faults: Faults = NO_FAULTS;
  isPublicDown = false;
  /** Rises with everything that happens, so that silence can be told. */
  activity = 0;
  private inFlight = 0;
  private generation = 0;
  private readonly fates: Random;
  private readonly database: string;
  private publicServer: PublicServer | undefined;
  private readonly requests = new Set<unknown>();
  private readonly requestStarts = (message: unknown): void => void this.requests.add(requestOf(message));
  private readonly requestEnds = (message: unknown): void => void this.requests.delete(requestOf(message));

  private constructor(template: FloorTemplate, oracles: Oracles, seed: number) {
    this.template = template;
    this.oracles = oracles;
    this.clock = new ManualClock(template.start);
    this.random = seededRandom(`world ${seed}`);
    this.fates = seededRandom(`fates ${seed}`);
    this.database = path.join(template.directory, `run-${seed}-${process.hrtime.bigint()}.db`);
  }

  static async open(template: FloorTemplate, oracles: Oracles, seed: number): Promise<FloorWorld> {
    const world = new FloorWorld(template, oracles, seed);
    await copyFile(template.database, world.database);
    subscribe('http.client.request.start', world.requestStarts);
    subscribe('http.client.response.finish', world.requestEnds);
    subscribe('http.client.request.error', world.requestEnds);
    await world.openPublicListener();
    oracles.world = world;
    await world.startGateway();
    for (const id of DEVICES) {
      const device = new Device(world, id, await world.initialState(id));
      world.devices.set(id, device);
      await device.on();
    }
    await world.advance(20_000);
    return world;
  }

  get signer(): MessageSigner {
    return bundleParts(this.template, this.generation).current;
  }

  device(id: DeviceId): Device {
    const device = this.devices.get(id);
    if (device === undefined) throw new Error(`there is no ${id}`);
    return device;
  }

  async close(): Promise<void> {
    for (const device of this.devices.values()) device.powerCut();
    this.gateway?.kill();
    await this.settle();
    unsubscribe('http.client.request.start', this.requestStarts);
    unsubscribe('http.client.response.finish', this.requestEnds);
    unsubscribe('http.client.request.error', this.requestEnds);
    await this.publicServer?.close();
    for (const suffix of ['', '-wal', '-shm']) await rm(this.database + suffix, { force: true });
  }

  async startGateway(): Promise<void> {
    if (this.gateway?.isDead === false) return;
    const sqlite = openDatabase(this.database, 1_000);
    // It is the process that ends in these runs, not the machine.
    sqlite.pragma('synchronous = OFF');
    const store = await storeOn(sqlite, this.template.authority.realm, this.clock);
    await store.clearPresence();
    await this.oracles.gatewayStarts(store);
    this.gateway = new GatewayLife(this, store);
    const bundle = await store.latestTrustBundle();
    if (bundle !== undefined) await announceTrust(this.gateway.broker, this.template.authority.realm, bundle);
    this.gateway.ring();
  }

  /** The connection of a device, with the network's faults on it. What is under way when it ends is lost. */
  async connect(device: Device, request: TransportRequest): Promise<Transport> {
    const { gateway } = this;
    if (gateway === undefined || gateway.isDead || device.isAway) throw new CroupierError('network.unreachable');
    const { clientId, identity } = request;
    const judged = gateway.authorize({ certificate: identity.certificate, clientId, address: undefined });
    const verdict = await Promise.race([judged, gateway.death.promise]);
    if (verdict === undefined) throw new CroupierError('network.unreachable');
    if (!verdict.allowed) throw new CroupierError('broker.denied', verdict.code);
    if (gateway.isDead) throw new CroupierError('network.unreachable');
    const link = gateway.broker.connect(device.id, { serial: verdict.serial });
    const lost = new Set<(error: Error) => void>();
    link.onMessage((topic, payload) => this.carry(() => link.connected && request.onMessage(topic, payload)));
    link.onClose(() => {
      for (const lose of lost) lose(new CroupierError('network.unreachable'));
      request.onClose(undefined);
    });
    for (const filter of request.subscriptions) link.subscribe(filter);
    device.drop = () => link.drop();
    return {
      publish: (topic, payload) => {
        this.oracles.devicePublishes(device.id, payload);
        return new Promise<void>((resolve, reject) => {
          lost.add(reject);
          const isLost = this.carry(() => {
            if (link.connected) link.publish(topic, payload);
            resolve();
          });
          // The broker acknowledged it, and then the gateway never saw it.
          if (isLost) resolve();
        });
      },
      close: async () => link.close(),
      destroy: () => link.drop(),
    };
  }

  /** Lets some time pass in small steps, each until nothing moves any more. */
  async advance(ms: number): Promise<void> {
    await this.settle();
    for (let left = ms; left > 0; left -= 1_000) {
      this.clock.advance(Math.min(left, 1_000));
      await this.settle();
    }
  }

  async settle(): Promise<void> {
    let quiet = 0;
    for (let turn = 0; quiet < QUIET_TURNS; turn += 1) {
      if (turn > MANY_TURNS)
        throw new Error(`the floor never comes to rest: ${this.inFlight} calls, ${this.requests.size} requests`);
      const before = this.activity;
      await new Promise<void>((resolve) => setImmediate(resolve));
      quiet = this.activity === before && this.inFlight + this.requests.size === 0 ? quiet + 1 : 0;
    }
    this.oracles.throwIfBroken();
  }

  /** Counts a call that is under way. */
  async during<T>(run: () => Promise<T>): Promise<T> {
    this.activity += 1;
    this.inFlight += 1;
    try {
      return await run();
    } finally {
      this.activity += 1;
      this.inFlight -= 1;
    }
  }

  /** What a call of a process that has died comes to: nothing, ever. */
  abandoned<T>(): Promise<T> {
    this.inFlight -= 1;
    this.activity += 1;
    return never<T>();
  }

  async publishTrust(rollsSigner: boolean): Promise<void> {
    const { gateway, template } = this;
    if (gateway === undefined || gateway.isDead) return;
    const next = rollsSigner && this.generation + 2 < template.signers.length ? this.generation + 1 : this.generation;
    const ports = {
      realm: template.authority.realm,
      store: gateway.console,
      clock: this.clock,
      policy: () => template.policy,
    };
    const parts = bundleParts(template, next);
    const available = next === this.generation ? parts : { ...parts, standby: parts.standby };
    const bundle = await publishTrustBundle(ports, { ...available, actor: ADA.actor, approval: undefined });
    this.generation = next;
    await announceTrust(gateway.broker, template.authority.realm, bundle);
    gateway.ring();
  }

  keyCommands(): KeyCommandPorts | undefined {
    const { gateway, template, clock, random } = this;
    if (gateway === undefined || gateway.isDead) return undefined;
    const { realm, pki } = template.authority;
    return { realm, store: gateway.console, keyStore: pki.hsm, clock, random, onChange: gateway.ring };
  }

  async rotate(keySet: KeySetName): Promise<void> {
    const ports = this.keyCommands();
    if (ports !== undefined) await rotateCommand(ports).execute({ keySet }, ADA);
  }

  async retire(rollout: RolloutId): Promise<void> {
    const ports = this.keyCommands();
    if (ports !== undefined) await retireCommand(ports).execute({ rollout }, ADA);
  }

  async destroy(rollout: RolloutId): Promise<void> {
    const ports = this.keyCommands();
    if (ports !== undefined) await destroyCommand(ports).execute({ rollout }, ADA);
  }

  async contain(device: DeviceId, how: 'quarantine' | 'release'): Promise<void> {
    const { gateway, clock, random, template } = this;
    if (gateway === undefined || gateway.isDead) return;
    const ports = {
      store: gateway.console,
      clock,
      random,
      policy: () => template.policy,
      onContained: (id: DeviceId) => void gateway.broker.disconnect(id),
      onRestored: gateway.ring,
    };
    const command = how === 'quarantine' ? quarantineCommand(ports) : releaseCommand(ports);
    if (how === 'quarantine') this.oracles.operatorMoves(device, 'contained');
    await command.execute({ device, reason: 'test' }, ADA);
    if (how === 'release') this.oracles.operatorMoves(device, 'released');
  }

  /** True if the message will never arrive. */
  private carry(deliver: () => void): boolean {
    const { lose, duplicate, maxDelayMs } = this.faults;
    this.activity += 1;
    if (this.fates.fraction() < lose) return true;
    const times = this.fates.fraction() < duplicate ? 2 : 1;
    for (let sent = 0; sent < times; sent += 1) {
      const delay = this.fates.fraction() * maxDelayMs;
      if (delay === 0) queueMicrotask(deliver);
      else this.clock.after(delay, deliver);
    }
    return false;
  }

  private async initialState(device: DeviceId): Promise<AgentState> {
    const { authority, identities } = this.template;
    const current = identities.get(device);
    const root = authority.pki.root.certificate;
    const port = this.publicServer?.port ?? 0;
    const state = newState({
      realm: authority.realm,
      device,
      est: 'https://127.0.0.1:1',
      mqtt: 'mqtts://127.0.0.1:1',
      public: `http://127.0.0.1:${port}`,
      root: Sha256.parse(certificateFingerprint(root)),
    });
    return { ...state, root, identities: { ...state.identities, current } };
  }

  private async openPublicListener(): Promise<void> {
    const trust = (): Store => {
      if (this.isPublicDown || this.gateway === undefined || this.gateway.isDead)
        throw new CroupierError('store.unavailable');
      return this.gateway.console;
    };
    this.publicServer = await createPublicServer({
      host: '127.0.0.1',
      port: 0,
      realm: this.template.authority.realm,
      health: async () => ({}),
      crl: async () => Promise.reject(new CroupierError('store.unavailable')),
      cacerts: () => [],
      trust: {
        latestTrustBundle: async () => trust().latestTrustBundle(),
        trustBundle: async (version) => trust().trustBundle(version),
      },
      log: silentLog,
    });
  }
}
