/** One device of a floor: a state that lasts, and an agent while it is on. */
import {
  createAgent,
  openDiskState,
  memoryState,
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
import type { FloorObserver } from './observer.ts';
import type { DevicePlan } from './plan.ts';

/** Where devices find the gateway. */
export type GatewayAddresses = z.infer<typeof TicketInfo>;

export interface DeviceSetting {
  readonly seed: string;
  readonly gateway: GatewayAddresses;
  readonly clock: Clock;
  readonly observer: FloorObserver;
  /** Directory of this device's state; in memory without one. */
  readonly directory: string | undefined;
  readonly timing: Partial<AgentTiming>;
  readonly transport?: TransportFactory;
  readonly version: string;
}

/** `power-cut`: nothing is said good-bye to. */
export type SwitchingOff = 'orderly' | 'power-cut';

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

  constructor(plan: DevicePlan, setting: DeviceSetting) {
    this.plan = plan;
    this.setting = setting;
    this.wear = wearOf(plan.behaviours, setting.clock);
  }

  get isOn(): boolean {
    return this.agent !== undefined;
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
  async switchOn(ticket?: Ticket): Promise<void> {
    if (this.agent !== undefined) return;
    const { observer, clock, seed, timing, transport, version } = this.setting;
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
      ...(transport === undefined ? {} : { transport }),
    });
    const agent = createAgent({
      state,
      ...equipment,
      ...(busy === undefined ? {} : { busy }),
      keyAlgorithm,
      timing,
      version,
      ...(isEnrolled || ticket === undefined ? {} : { ticket }),
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
