/**
 * A whole casino for one test: a realm from the real ceremonies in SoftHSM2, its gateway, and real agents that reach it
 * over TCP, each with a ticket of its own. Directories and ports are its own; `close` leaves nothing behind.
 *
 * SoftHSM2 shows a process one token directory at a time: a second casino of a process must have its gateway in a child
 * process and be started first.
 */
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { memoryState, openDiskState, type AgentOptions, type StateStore } from '#agent/agent.ts';
import { verifyChain } from '#gateway/audit/chain.ts';
import { createApiClient, type ApiClient } from '#gateway/cli/client/api-client.ts';
import { locateGateway } from '#gateway/cli/client/location.ts';
import { keyringDifferences } from '#gateway/delivery/desired.ts';
import { importCommand, ticketCommand, type DeviceCommandPorts } from '#gateway/enrolment/commands.ts';
import { hashNewCode, makeTicketCode } from '#gateway/enrolment/ticket-code.ts';
import { loadConfig, writeConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory, type DataDirectory } from '#gateway/installation/data-directory.ts';
import { initialise } from '#gateway/installation/init.ts';
import { openConfiguredKeyStore } from '#gateway/installation/key-store.ts';
import { decideRotation, nextVersion } from '#gateway/keys/decide-rotation.ts';
import { prepareWorkingKey } from '#gateway/keys/working-key.ts';
import {
  destroyCommand,
  nextRotation,
  retireCommand,
  rotateCommand,
  type KeyCommandPorts,
} from '#gateway/keys/commands.ts';
import type { Authority } from '#gateway/operators/command.ts';
import type { DeviceDetail } from '#gateway/ports/store/fleet.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { KeyVersionRollout } from '#gateway/ports/store/records.ts';
import { planned } from '#gateway/rollout/planning.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { loadAuthorities } from '#gateway/trust/authorities.ts';
import { trustPublishCommand } from '#gateway/trust/command.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { decodePemAll } from '#pki/certificate/pem.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { TicketRequest, type CommandAnswer } from '#schema/api/commands.ts';
import type { AuditRecord } from '#schema/audit.ts';
import type { Config, ConfigDocument } from '#schema/config.ts';
import { DeviceId, KeySetName, RolloutId } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { selects, type Policy } from '#schema/policy.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import { Ticket } from '#schema/ticket.ts';
import { agentRun, type AgentRun } from './agent-run.ts';
import { hostHere, hostInChild, type GatewayHost, type LogLine } from './gateway-host.ts';
import { Wire } from './wire.ts';

export interface CasinoOptions {
  /** How many devices of each class; they are called `egm-1`, `egm-2`, `service-1` … */
  readonly floor: Readonly<Partial<Record<'egm' | 'kiosk' | 'service', number>>>;
  readonly realm?: string;
  /** The gateway runs in a process of its own. */
  readonly child?: boolean;
  /** Time of the gateway, when it runs in this process. */
  readonly clock?: Clock;
  /** Devices keep their state on disk. */
  readonly disk?: boolean;
  /** The fleet policy as YAML; `FLOOR_POLICY` unless told. */
  readonly policy?: string;
  readonly timing?: AgentOptions['timing'];
  readonly config?: Partial<Pick<ConfigDocument, 'est' | 'broker' | 'store'>>;
  /** Called with the data directory before anything is in it, and when nothing needs it any more. */
  readonly prepare?: (dataDirectory: string) => Promise<void>;
  readonly cleanUp?: (dataDirectory: string) => Promise<void>;
}

export const WALLET = KeySetName.parse('wallet-kek');
export const REPORT_MAC = KeySetName.parse('report-mac');

/** The policy that a casino opens with; a test puts `rollouts:` behind it. */
export const FLOOR_POLICY = `version: 1
classes:
  egm: { keyTypes: [EC-P256, RSA-2048], validity: 365d, grace: 30d }
  kiosk: { keyTypes: [EC-P256], validity: 365d, grace: 30d }
  service: { keyTypes: [EC-P256], validity: 90d, grace: 7d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared }
  report-mac: { algorithm: HMAC-SHA256, use: mac, scope: per-device, selector: { class: [egm] } }
delivery: { resendAfter: 300ms, resendMax: 1s }
`;

const ENGINEER: Authority = { actor: { type: 'operator', id: 'grace', role: 'device-engineer' }, approval: undefined };
const LIMIT_MS = 25_000;

/** Grace is a device engineer, Alan the approver, Ada the key admin. */
export type Founder = 'grace' | 'alan' | 'ada';

/** Waits until `look` finds something; fails with `what` after a while. */
export async function until<T>(look: () => Promise<T | undefined | false>, what: () => unknown): Promise<T> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited in vain for ${JSON.stringify(await what())}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface NewDevice {
  readonly id: string;
  readonly class: string;
  readonly site?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export class CasinoDevice {
  readonly id: DeviceId;
  ticket: Ticket | undefined;
  /** State directory of a device on disk. */
  readonly directory: string;
  private readonly casino: Casino;
  private memory = memoryState();
  private current: AgentRun | undefined;

  constructor(casino: Casino, id: DeviceId, directory: string) {
    this.casino = casino;
    this.id = id;
    this.directory = directory;
  }

  get run(): AgentRun {
    if (this.current === undefined) throw new Error(`${this.id} is switched off`);
    return this.current;
  }

  get isOn(): boolean {
    return this.current !== undefined;
  }

  /** `tampered`: what the agent is made to believe of its state. */
  async on(options: Partial<AgentOptions> = {}, tampered?: (state: StateStore) => StateStore): Promise<AgentRun> {
    const { disk, timing } = this.casino.options;
    const own = disk === true ? await openDiskState(this.directory) : this.memory;
    const state = tampered === undefined ? own : tampered(own);
    const ticket = this.ticket === undefined ? {} : { ticket: this.ticket };
    this.current = agentRun({
      state,
      ...ticket,
      ...options,
      timing: { backoffMaxMs: 150, ...timing, ...options.timing },
    });
    const { agent } = this.current;
    agent.view.onChange(() => this.casino.onDeviceChange?.(this));
    await agent.start();
    return this.current;
  }

  async off(): Promise<void> {
    const { current } = this;
    this.current = undefined;
    await current?.agent.stop();
  }

  /** As a power cut: nothing is said, nothing is finished. */
  powerCut(): void {
    this.current?.agent.kill();
    this.current = undefined;
  }

  /** Copies the state, as a backup of the disk would. */
  async backup(): Promise<() => Promise<void>> {
    if (this.casino.options.disk !== true) throw new Error('only a state on disk can be copied');
    const copy = `${this.directory}.backup`;
    await rm(copy, { recursive: true, force: true });
    await cp(this.directory, copy, { recursive: true });
    return async () => {
      await rm(this.directory, { recursive: true, force: true });
      await cp(copy, this.directory, { recursive: true });
    };
  }

  /** What the device itself holds of a key set: `1 stored`, `2 active` … */
  holds(keySet: KeySetName = WALLET): string[] {
    const ring = this.run.agent.view.keyrings().find((one) => one.keySet === keySet);
    return ring?.versions.map(({ version, state }) => `${version} ${state}`) ?? [];
  }

  get trustVersion(): number {
    return this.run.agent.view.trust()?.version ?? 0;
  }
}

export class Casino {
  readonly options: CasinoOptions;
  readonly data: DataDirectory;
  readonly config: Config;
  readonly policy: Policy;
  /** A connection to the gateway's database beside its own. */
  store: Store;
  readonly rootFingerprint: string;
  readonly wires: { readonly est: Wire; readonly mqtt: Wire; readonly public: Wire };
  readonly devices = new Map<DeviceId, CasinoDevice>();
  /** What a gateway in this process has logged. */
  readonly log: LogLine[] = [];
  /** Called after each durable change of a device's state, while that is on. */
  onDeviceChange: ((device: CasinoDevice) => void) | undefined;
  private host: GatewayHost | undefined;
  private readonly directory: string;

  constructor(
    parts: Pick<Casino, 'options' | 'data' | 'config' | 'policy' | 'store' | 'rootFingerprint' | 'wires'> & {
      readonly directory: string;
    },
  ) {
    this.options = parts.options;
    this.data = parts.data;
    this.config = parts.config;
    this.policy = parts.policy;
    this.store = parts.store;
    this.rootFingerprint = parts.rootFingerprint;
    this.wires = parts.wires;
    this.directory = parts.directory;
  }

  get gateway(): GatewayHost {
    if (this.host === undefined) throw new Error('the gateway does not run');
    return this.host;
  }

  async startGateway(): Promise<void> {
    const { root } = this.data;
    this.host =
      this.options.child === true ? await hostInChild(root) : await hostHere(root, this.log, this.options.clock);
    const { ports } = this.host.run;
    for (const name of ['est', 'mqtt', 'public'] as const) this.wires[name].target = ports[name];
  }

  async stopGateway(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    const { host } = this;
    this.host = undefined;
    for (const wire of Object.values(this.wires)) wire.target = undefined;
    await host?.[how]();
  }

  async restartGateway(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    await this.stopGateway(how);
    await this.startGateway();
  }

  /** Has something else put in the place of the database, while nobody has it open. */
  async replaceDatabase<T>(replace: () => Promise<T>): Promise<T> {
    const { store, realm } = this.config;
    await this.store.close();
    try {
      return await replace();
    } finally {
      this.store = await openSqliteStore({ path: store.path, realm, busyTimeoutMs: 5_000 });
    }
  }

  device(id: string): CasinoDevice {
    const device = this.devices.get(DeviceId.parse(id));
    if (device === undefined) throw new Error(`there is no ${id} on the floor`);
    return device;
  }

  /** Adds devices to the inventory, each with a ticket. */
  async addDevices(rows: readonly NewDevice[]): Promise<void> {
    const inventory = rows.map(({ id, class: name, site = 'main', labels = {} }) =>
      InventoryRow.parse({ id, class: name, site, serial: `SN-${id}`, labels }),
    );
    await importCommand(this.devicePorts()).execute({ rows: inventory }, ENGINEER);
    for (const { id } of inventory) {
      const device = new CasinoDevice(this, id, path.join(this.directory, 'devices', id));
      device.ticket = await this.newTicket(id);
      this.devices.set(id, device);
    }
  }

  async newTicket(id: string): Promise<Ticket> {
    const device = DeviceId.parse(id);
    const code = makeTicketCode(systemRandom);
    await ticketCommand(this.devicePorts()).execute({ tickets: [hashedTicket(device, code)] }, ENGINEER);
    return Ticket.parse({
      v: 1,
      type: 'ticket',
      realm: this.config.realm,
      device,
      code,
      expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
      est: `https://127.0.0.1:${this.wires.est.port}`,
      mqtt: `mqtts://127.0.0.1:${this.wires.mqtt.port}`,
      public: `http://127.0.0.1:${this.wires.public.port}`,
      root: await this.currentRoot(),
    });
  }

  /** Fingerprint of the root above the gateway's TLS certificate. */
  private async currentRoot(): Promise<string> {
    const [root] = decodePemAll('CERTIFICATE', await readFile(path.join(this.data.ca, 'root.pem'), 'utf8'));
    return root === undefined ? this.rootFingerprint : certificateFingerprint(root);
  }

  async allOn(): Promise<void> {
    for (const device of this.devices.values()) if (!device.isOn) await device.on();
  }

  /** A rotation whose key is drawn already, for a day when the HSM is away at the moment it is started. */
  async prepareRotation(keySet: KeySetName = WALLET): Promise<{ readonly id: RolloutId; commit(): Promise<void> }> {
    const id = RolloutId.parse(systemRandom.uuid());
    const record = await this.store.keySet(keySet);
    if (record === undefined) throw new Error(`there is no key set ${keySet}`);
    const version = nextVersion(record);
    const key = await this.withKeyStore((keyStore) => prepareWorkingKey(keyStore, this.config.realm, record, version));
    const commit = async (): Promise<void> => {
      const at = systemClock.now();
      const ports = { store: this.store, clock: systemClock, policy: () => this.policy };
      const terms = planned(ports, await nextRotation(ports, keySet), {});
      const request = { rollout: id, version, ...key, ...terms, ...ENGINEER, supersede: false, at };
      await this.store.startRollout(keySet, at, (context) => decideRotation(keySet, context, request));
      await this.nudge();
    };
    return { id, commit };
  }

  async rotate(keySet: KeySetName = WALLET): Promise<RolloutId> {
    const started = await this.withKeyStore((keyStore) =>
      rotateCommand(this.keyPorts(keyStore)).execute({ keySet }, ENGINEER),
    );
    await this.nudge();
    return RolloutId.parse(
      started !== null && typeof started === 'object' && 'rollout' in started ? started['rollout'] : undefined,
    );
  }

  async retire(rollout: RolloutId): Promise<void> {
    await this.withKeyStore((keyStore) => retireCommand(this.keyPorts(keyStore)).execute({ rollout }, ENGINEER));
    await this.nudge();
  }

  async destroy(rollout: RolloutId): Promise<void> {
    await this.withKeyStore((keyStore) => destroyCommand(this.keyPorts(keyStore)).execute({ rollout }, ENGINEER));
    await this.nudge();
  }

  /** Rotates and waits until the new version is active; then, if asked, takes the old one away step by step. */
  async rotateUntil(state: 'active' | 'retired' | 'destroyed', keySet: KeySetName = WALLET): Promise<RolloutId> {
    const rollout = await this.rotate(keySet);
    await this.untilRollout(rollout, 'active');
    if (state === 'active') return rollout;
    await this.retire(rollout);
    await this.untilRollout(rollout, 'retired');
    if (state === 'destroyed') await this.destroy(rollout);
    if (state === 'destroyed')
      await this.until(
        async () => (await this.version(keySet, rollout))?.state === 'destroyed',
        () => 'a destroyed version',
      );
    return rollout;
  }

  async publishTrust(): Promise<void> {
    await this.withKeyStore(async (keyStore) => {
      const authorities = await loadAuthorities(this.store, keyStore);
      const ports = {
        realm: this.config.realm,
        store: this.store,
        clock: systemClock,
        random: systemRandom,
        policy: () => this.policy,
      };
      await trustPublishCommand({ ...ports, authorities: () => authorities, onPublished: () => undefined }).execute(
        { anchors: {} },
        ENGINEER,
      );
    });
    await this.nudge();
  }

  /** Contains a device over the operator API. */
  async quarantine(id: string): Promise<void> {
    await this.as('grace', (api) =>
      api.call('device.quarantine', { params: { id: DeviceId.parse(id) }, body: { reason: 'looks odd' } }),
    );
  }

  /** Restores a device over the operator API: one asks, another approves. */
  async release(id: string): Promise<void> {
    await this.byTwo('grace', (api) =>
      api.call('device.release', { params: { id: DeviceId.parse(id) }, body: { reason: 'looked at' } }),
    );
  }

  /** One asks over the operator API, Alan approves; what came of it. */
  async byTwo(founder: Founder, ask: (api: ApiClient) => Promise<CommandAnswer>): Promise<unknown> {
    const asked = await this.as(founder, ask);
    if (asked.state !== 'approval-required') throw new Error('that needs no second person');
    const { id, sha256 } = asked.approval;
    const answer = await this.as('alan', (api) => api.call('approval.approve', { params: { id }, body: { sha256 } }));
    return answer.result;
  }

  /** One does it over the operator API alone; what came of it. */
  async byOne(founder: Founder, ask: (api: ApiClient) => Promise<CommandAnswer>): Promise<unknown> {
    const answer = await this.as(founder, ask);
    if (answer.state !== 'done') throw new Error('that needs a second person');
    return answer.result;
  }

  /** Speaks to the operator API as one of the founders. */
  async as<T>(founder: Founder, use: (api: ApiClient) => Promise<T>): Promise<T> {
    const token = (await readFile(path.join(this.data.operators, `${founder}.token`), 'utf8')).trim();
    const api = createApiClient(await locateGateway({ data: this.data.root }), token);
    try {
      return await use(api);
    } finally {
      api.close();
    }
  }

  /** Has one connected device report, which makes the gateway look at what is due. */
  async nudge(): Promise<void> {
    if (this.host === undefined) return;
    const [device] = [...this.devices.values()].filter(
      (one) => one.isOn && one.run.agent.status().phase === 'connected',
    );
    await device?.run.agent.report();
  }

  async detail(id: string): Promise<DeviceDetail> {
    const detail = await this.store.device(DeviceId.parse(id));
    if (detail === undefined) throw new Error(`the inventory has no ${id}`);
    return detail;
  }

  async certificatesOf(id: string): Promise<DeviceDetail['certificates']> {
    return (await this.detail(id)).certificates;
  }

  /** Whether the gateway knows, by the device's own signature, that it holds exactly what it should. */
  async isConverged(id: string): Promise<boolean> {
    const { device, sync, versions, targets } = await this.detail(id);
    const keySets = (await this.store.keySets()).filter(({ selector }) => selects(selector, device));
    const rollouts = (await this.store.rollouts(true, 100)).map((rollout) => ({
      rollout,
      target: targets.find((target) => target.rollout === rollout.id),
    }));
    const latest = await this.store.latestTrustBundle();
    const reported = device.state.kind === 'enrolled' && sync.connected && sync.trustVersion === latest?.version;
    const { clock = systemClock } = this.options;
    const policy = (await this.store.currentPolicy())?.policy ?? this.policy;
    const moment = { now: clock.now(), windows: createWindows(policy.rollouts.windows) };
    return reported && keyringDifferences({ device, keySets, rollouts, versions }, moment).keyrings.length === 0;
  }

  /** Waits until these devices, or all that are switched on, have converged. */
  async untilConverged(...ids: readonly string[]): Promise<void> {
    const wanted = ids.length > 0 ? ids : [...this.devices.values()].filter((one) => one.isOn).map(({ id }) => id);
    for (const id of wanted)
      await this.until(
        () => this.isConverged(id),
        () => this.describe(id),
      );
  }

  /** The rollout of a key version. */
  async keyRollout(id: RolloutId): Promise<KeyVersionRollout> {
    const found = (await this.store.rollout(id))?.rollout;
    if (found?.kind !== 'key-version') throw new Error(`${id} is no rollout of a key version`);
    return found;
  }

  async untilRollout(id: RolloutId, state: string): Promise<void> {
    await this.until(
      async () => (await this.store.rollout(id))?.rollout.state === state,
      () => this.store.rollout(id),
    );
  }

  async until<T>(look: () => Promise<T | undefined | false>, what: () => unknown): Promise<T> {
    return until(look, what);
  }

  /** All audit records, after checking that they are one chain. */
  async auditRecords(): Promise<readonly AuditRecord[]> {
    const records: AuditRecord[] = [];
    for (;;) {
      const page = await this.store.auditRecords(records.at(-1)?.seq ?? 0, 1_000);
      if (page.length === 0) break;
      records.push(...page);
    }
    const head = verifyChain(records);
    const stored = await this.store.auditHead();
    if (head.hash !== stored.hash) throw new Error('the audit chain does not end where the store says');
    return records;
  }

  async withKeyStore<T>(use: (keyStore: KeyStore) => Promise<T>): Promise<T> {
    const keyStore = await openConfiguredKeyStore(this.data, this.config);
    try {
      return await use(keyStore);
    } finally {
      await keyStore.close();
    }
  }

  async close(): Promise<void> {
    for (const device of this.devices.values()) await device.off();
    await this.stopGateway();
    for (const wire of Object.values(this.wires)) await wire.close();
    await this.store.close();
    await this.options.cleanUp?.(this.data.root);
    await rm(this.directory, { recursive: true, force: true });
  }

  private async version(keySet: KeySetName, rollout: RolloutId) {
    const found = (await this.store.rollout(rollout))?.rollout;
    const from = found?.kind === 'key-version' ? found.fromVersion : undefined;
    return (await this.store.keySet(keySet))?.versions.find(({ version }) => version === from);
  }

  private async describe(id: string): Promise<object> {
    const { device, sync, versions } = await this.detail(id);
    const events = this.device(id).isOn ? this.device(id).run.events.slice(-6) : [];
    return { device: device.state, sync, versions, events };
  }

  private devicePorts(): DeviceCommandPorts {
    const nothing = (): void => undefined;
    return {
      store: this.store,
      clock: systemClock,
      random: systemRandom,
      policy: () => this.policy,
      onContained: nothing,
      onRestored: nothing,
    };
  }

  private keyPorts(keyStore: KeyStore): KeyCommandPorts {
    return {
      realm: this.config.realm,
      store: this.store,
      keyStore,
      clock: systemClock,
      random: systemRandom,
      policy: () => this.policy,
      onChange: () => undefined,
    };
  }
}

const hashedTicket = (device: DeviceId, code: string) =>
  TicketRequest.parse({ device, ...hashNewCode(code, systemRandom) });

/** Holds the ceremonies, writes the configuration and the inventory. The gateway does not run yet. */
export async function buildCasino(options: CasinoOptions): Promise<Casino> {
  const directory = await mkdtemp(path.join(tmpdir(), 'croupier-casino-'));
  try {
    const data = dataDirectory(path.join(directory, 'gateway'));
    await mkdir(data.root, { mode: 0o700 });
    await options.prepare?.(data.root);
    const { rootFingerprint, realm } = await initialise({
      directory: data.root,
      realm: options.realm ?? 'test',
      operator: 'Casino Nürnberg',
      names: ['localhost', '127.0.0.1'],
      listen: { host: '127.0.0.1', est: 0, mqtt: 0, api: 0, public: 0 },
      policy: options.policy ?? FLOOR_POLICY,
      founders: [
        { name: 'grace', role: 'device-engineer' },
        { name: 'alan', role: 'approver' },
        { name: 'ada', role: 'key-admin' },
      ],
      clock: systemClock,
      random: systemRandom,
    });
    const { hsm, names, operator, listen } = await loadConfig(data);
    const document: ConfigDocument = {
      realm,
      operator,
      names,
      listen,
      hsm,
      est: { failuresPerMinute: 1_000 },
      log: { level: 'warn' },
      ...options.config,
    };
    await writeConfig(data, document);
    const config = await loadConfig(data);
    const store = await openSqliteStore({ path: config.store.path, realm, busyTimeoutMs: 5_000 });
    const policy = (await store.currentPolicy())?.policy;
    if (policy === undefined) throw new Error('the ceremony left no policy');
    const wires = { est: await Wire.open(), mqtt: await Wire.open(), public: await Wire.open() };
    const casino = new Casino({ options, data, config, policy, store, rootFingerprint, wires, directory });
    for (const [name, count] of Object.entries(options.floor)) {
      if (count > 0)
        await casino.addDevices(
          Array.from({ length: count }, (_, index) => ({ id: `${name}-${index + 1}`, class: name })),
        );
    }
    return casino;
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/** A casino with its gateway running; the devices are still switched off. */
export async function startCasino(options: CasinoOptions): Promise<Casino> {
  const casino = await buildCasino(options);
  try {
    await casino.startGateway();
    return casino;
  } catch (error) {
    await casino.close();
    throw error;
  }
}
