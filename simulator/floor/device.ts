/** One device of a floor: a state that lasts, and an agent while it is on. */
import { cp, rm } from 'node:fs/promises';
import {
  createAgent,
  openDiskState,
  memoryState,
  mqttTransport,
  type Agent,
  type AgentState,
  type AgentTiming,
  type StateStore,
  type TransportFactory,
} from '#agent/agent.ts';
import { CroupierError } from '#schema/errors.ts';
import type { TicketInfo } from '#schema/api/views.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Ticket } from '#schema/ticket.ts';
import type { z } from 'zod';
import { equip, wearOf, type Wear } from './equipment.ts';
import type { Witness } from './observer.ts';
import type { DevicePlan } from './plan.ts';

/** Where devices find the gateway. */
export type GatewayAddresses = z.infer<typeof TicketInfo>;

export interface DeviceSetting {
  readonly seed: string;
  readonly gateway: GatewayAddresses;
  readonly clock: Clock;
  readonly observer: Witness;
  /** Directory of this device's state; in memory without one. */
  readonly directory: string | undefined;
  readonly timing: Partial<AgentTiming>;
  readonly transport?: TransportFactory;
  readonly version: string;
}

/** `power-cut`: nothing is said good-bye to. */
export type SwitchingOff = 'orderly' | 'power-cut';

/** What a device is switched on with. */
export interface SwitchOnOptions {
  /** Needed until the device is enrolled, and to enrol it anew. */
  readonly ticket?: Ticket | undefined;
  /** The clock of the device from now until it is switched off, in place of that of the floor. */
  readonly clock?: Clock | undefined;
  /** Put around its network. */
  readonly network?: ((next: TransportFactory) => TransportFactory) | undefined;
}

/** The storage of a device at one moment, to be written back any number of times. */
export interface StorageImage {
  readonly device: string;
  readonly content:
    | { readonly kind: 'memory'; readonly state: AgentState | undefined }
    | { readonly kind: 'disk'; readonly directory: string };
}

/** A store that tells when its last commit has ended, since in this process a power cut does not stop the disk. */
class LastingState implements StateStore {
  private readonly store: StateStore;
  private pending: Promise<unknown> = Promise.resolve();

  constructor(store: StateStore) {
    this.store = store;
  }

  load(): Promise<AgentState | undefined> {
    return this.store.load();
  }

  commit(state: AgentState): Promise<void> {
    const committed = this.store.commit(state);
    this.pending = committed.catch(() => undefined);
    return committed;
  }

  close(): Promise<void> {
    return this.store.close();
  }

  async settled(): Promise<void> {
    await this.pending;
  }
}

export class SimulatedDevice {
  readonly plan: DevicePlan;
  private readonly setting: DeviceSetting;
  private readonly wear: Wear;
  private state: LastingState | undefined;
  private agent: Agent | undefined;
  private off: (() => void) | undefined;
  /** Counts switchings off, so that one that comes while the device is being switched on is not lost. */
  private switchings = 0;
  private images = 0;

  constructor(plan: DevicePlan, setting: DeviceSetting) {
    this.plan = plan;
    this.setting = setting;
    this.wear = wearOf(plan.behaviours, setting.clock);
  }

  get isOn(): boolean {
    return this.agent !== undefined;
  }

  /** Errors: `agent.not-running` while the device is off. */
  get running(): Agent {
    if (this.agent !== undefined) return this.agent;
    throw new CroupierError('agent.not-running', `${this.plan.id} is switched off`);
  }

  /** Whether the device holds a certificate. Errors: `agent.state-corrupt`, `store.unavailable`. */
  async isEnrolled(): Promise<boolean> {
    const state = await (await this.open()).load();
    return state?.identities.current !== undefined;
  }

  /**
   * Switches the device on; resolves when it is connected, told to wait, in trouble (its agent goes on trying) or
   * switched off again. Errors: `agent.not-enrolled` without identity and ticket, `agent.state-corrupt`,
   * `store.unavailable`, `config.invalid` for a state of another realm.
   */
  async switchOn(options: SwitchOnOptions = {}): Promise<void> {
    if (this.agent !== undefined) return;
    const { ticket, clock = this.setting.clock, network = (next) => next } = options;
    const { observer, seed, timing, transport = mqttTransport, version } = this.setting;
    const { id, keyAlgorithm, behaviours } = this.plan;
    const { switchings } = this;
    const state = await this.open();
    const isEnrolled = await this.prepare(state);
    if (switchings !== this.switchings) return;
    if (!isEnrolled && ticket === undefined) {
      throw new CroupierError('agent.not-enrolled', `${id} has neither a certificate nor a ticket`);
    }
    const { busy, ...equipment } = equip(id, behaviours, this.wear, {
      clock,
      seed,
      transport: network(transport),
    });
    const agent = createAgent({
      state,
      ...equipment,
      ...(busy === undefined ? {} : { busy }),
      keyAlgorithm,
      timing,
      version,
      ...(ticket === undefined ? {} : { ticket }),
    });
    this.agent = agent;
    observer.notePower(id, true);
    const { promise: ready, resolve } = Promise.withResolvers<undefined>();
    this.off = () => resolve(undefined);
    agent.onEvent((event) => {
      observer.noteEvent(id, event);
      if (event.kind === 'connected' || event.kind === 'parked' || event.kind === 'error') resolve(undefined);
    });
    agent.view.onChange(() => observer.noteView(id, agent.view));
    try {
      await agent.start();
    } catch (error) {
      this.agent = undefined;
      observer.notePower(id, false);
      throw error;
    }
    observer.noteView(id, agent.view);
    await ready;
  }

  async switchOff(how: SwitchingOff): Promise<void> {
    this.switchings += 1;
    const { agent } = this;
    if (agent === undefined) return;
    this.agent = undefined;
    this.setting.observer.notePower(this.plan.id, false);
    this.off?.();
    if (how === 'orderly') await agent.stop();
    else agent.kill();
    await this.state?.settled();
    // The next agent reads again what is on the disk.
    if (this.setting.directory !== undefined) this.state = undefined;
  }

  /** Copies the storage of the device, which is off. Errors: `agent.running`, `agent.state-corrupt`, `store.unavailable`. */
  async image(): Promise<StorageImage> {
    this.requireOff();
    const device = this.plan.id;
    const { directory } = this.setting;
    if (directory === undefined) {
      return { device, content: { kind: 'memory', state: await (await this.open()).load() } };
    }
    this.images += 1;
    const copy = `${directory}.image-${this.images}`;
    await cp(directory, copy, { recursive: true });
    return { device, content: { kind: 'disk', directory: copy } };
  }

  /** Replaces the storage of the device, which is off. Errors: `agent.running`, `input.invalid`. */
  async restore({ device, content }: StorageImage): Promise<void> {
    this.requireOff();
    const { directory } = this.setting;
    const isFitting = device === this.plan.id && (content.kind === 'disk') === (directory !== undefined);
    if (!isFitting) throw new CroupierError('input.invalid', `the image of ${device} does not fit ${this.plan.id}`);
    if (content.kind === 'memory') {
      this.state = new LastingState(memoryState(content.state));
    } else if (directory !== undefined) {
      this.state = undefined;
      await rm(directory, { recursive: true, force: true });
      await cp(content.directory, directory, { recursive: true });
    }
  }

  /** Another device with the storage of an image of this one: `observer` hears what it says, and `gateway` is where it connects to. */
  async clone(image: StorageImage, observer: Witness, gateway: GatewayAddresses): Promise<SimulatedDevice> {
    const { directory } = this.setting;
    const place = directory === undefined ? undefined : `${directory}.clone`;
    const twin = new SimulatedDevice(this.plan, { ...this.setting, observer, gateway, directory: place });
    await twin.restore(image);
    return twin;
  }

  private requireOff(): void {
    if (this.agent === undefined) return;
    throw new CroupierError('agent.running', `${this.plan.id} is on: its storage is in use`);
  }

  private async open(): Promise<LastingState> {
    const { directory } = this.setting;
    this.state ??= new LastingState(directory === undefined ? memoryState() : await openDiskState(directory));
    return this.state;
  }

  /** Writes the addresses of a gateway that has moved into the state, as a technician would. Tells whether enrolled. */
  private async prepare(store: StateStore): Promise<boolean> {
    const held = await store.load();
    if (held === undefined) return false;
    const { realm, est, mqtt, public: publicUrl, root } = this.setting.gateway;
    const { registration } = held;
    if (registration.realm !== realm || registration.root !== root) {
      const where = this.setting.directory ?? 'memory';
      throw new CroupierError(
        'config.invalid',
        `the state of ${this.plan.id} in ${where} belongs to realm ${registration.realm} under another root; remove it to enrol the device here`,
      );
    }
    const isMoved = registration.est !== est || registration.mqtt !== mqtt || registration.public !== publicUrl;
    if (isMoved) await store.commit({ ...held, registration: { ...registration, est, mqtt, public: publicUrl } });
    return held.identities.current !== undefined;
  }
}
