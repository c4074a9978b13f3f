/**
 * A gateway and a few devices under one virtual clock: the real decisions, store, broker rules and agents; only the
 * network between them, the keys' hardware and the time are of the test. Everything that crosses a port is shown to
 * the oracles.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { copyFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Transport, TransportRequest } from '#agent/agent.ts';
import { type AgentState, newState } from '#agent/state/state.ts';
import { quarantineCommand, releaseCommand } from '#gateway/enrolment/commands.ts';
import { destroyCommand, type KeyCommandPorts, retireCommand, rotateCommand } from '#gateway/keys/commands.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { createPublicServer, type PublicServer } from '#gateway/public/server.ts';
import { openDatabase, storeOn } from '#gateway/store/sqlite/open.ts';
import { resumeCommand } from '#gateway/rollout/commands.ts';
import { announceTrust, publishTrustBundle } from '#gateway/trust/publish.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { CroupierError } from '#schema/errors.ts';
import { type DeviceId, type KeySetName, type RolloutId, Sha256 } from '#schema/ids.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { type Random, seededRandom } from '#schema/runtime/random.ts';
import { type CrashPoint, never } from './crash-point.ts';
import { Device } from './device-life.ts';
import { ADA, bundleParts, DEVICES, type FloorTemplate } from './floor-template.ts';
import { GatewayLife } from './gateway-life.ts';
import type { Oracles } from './oracles.ts';

const QUIET_TURNS = 10;
const MANY_TURNS = 200_000;

export interface Faults {
  readonly lose: number;
  readonly duplicate: number;
  readonly maxDelayMs: number;
}

export const NO_FAULTS: Faults = { lose: 0, duplicate: 0, maxDelayMs: 0 };

/** The request that a diagnostics channel of node:http tells about. */
function requestOf(message: unknown): unknown {
  return typeof message === 'object' && message !== null && 'request' in message ? message.request : undefined;
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
    // A connection begins with what the boot before left unsent, and MQTT keeps that first; the rest may overtake.
    let firstArrives: number | undefined;
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
          const isLost = this.carry(
            () => {
              if (link.connected) link.publish(topic, payload);
              resolve();
            },
            (arrives) => {
              firstArrives ??= arrives;
              return Math.max(arrives, firstArrives);
            },
          );
          // The broker acknowledged it, and then the gateway never saw it.
          if (isLost) resolve();
        });
      },
      close: async () => link.close(),
      destroy: () => link.drop(),
    };
  }

  /** Lets some time pass in small steps, each until nothing moves any more. */
  async advance(ms: number, step = 1_000): Promise<void> {
    await this.settle();
    for (let left = ms; left > 0; left -= step) {
      this.clock.advance(Math.min(left, step));
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
    const policy = () => template.policy;
    return { realm, store: gateway.console, keyStore: pki.hsm, clock, random, policy, onChange: gateway.ring };
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

  /** An operator resumes what paused by itself: a service may have lagged. */
  async resumePaused(): Promise<void> {
    const ports = this.keyCommands();
    const open = (await this.gateway?.console.rollouts(true, 100)) ?? [];
    for (const { id, pause } of open)
      if (ports !== undefined && pause !== undefined) await resumeCommand(ports).execute({ rollout: id }, ADA);
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
  private carry(deliver: () => void, ordered: (arrives: number) => number = (arrives) => arrives): boolean {
    const { lose, duplicate, maxDelayMs } = this.faults;
    this.activity += 1;
    if (this.fates.fraction() < lose) return true;
    const times = this.fates.fraction() < duplicate ? 2 : 1;
    for (let sent = 0; sent < times; sent += 1) {
      const sentAt = this.clock.monotonic();
      const delay = ordered(sentAt + this.fates.fraction() * maxDelayMs) - sentAt;
      if (delay <= 0) queueMicrotask(deliver);
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
