/** A floor of real agents in one process, reproducible from a seed, over the wire like any device. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { mqttTransport, type AgentTiming, type TransportFactory } from '#agent/agent.ts';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import type { Ticket } from '#schema/ticket.ts';
import { SimulatedDevice, type GatewayAddresses, type SwitchingOff, type SwitchOnOptions } from './device.ts';
import { draw } from './draw.ts';
import { forEachLimited, Limiter } from './limiter.ts';
import { FloorObserver } from './observer.ts';
import { planFloor, type DevicePlan, type FloorPlanOptions } from './plan.ts';

export type { GatewayAddresses, SwitchingOff, SwitchOnOptions } from './device.ts';

export interface FloorOptions extends Omit<FloorPlanOptions, 'now'> {
  readonly gateway: GatewayAddresses;
  /** `disk`: one directory for each device, so that the floor continues in another process. */
  readonly state: { readonly kind: 'memory' } | { readonly kind: 'disk'; readonly directory: string };
  /** Devices that enrol, connect or are switched off at once. */
  readonly concurrency?: number;
  /** TLS handshakes with the broker at once, in the whole floor; as many as `concurrency` unless told. */
  readonly handshakes?: number;
  readonly timing?: Partial<AgentTiming>;
  readonly clock?: Clock;
  /** Put around the network of every device. */
  readonly network?: (next: TransportFactory) => TransportFactory;
  /** Reported as the agents' version. */
  readonly version?: string;
}

export interface Floor {
  readonly seed: string;
  readonly plans: readonly DevicePlan[];
  readonly observer: FloorObserver;
  /** Errors: `device.not-found`. */
  device(id: DeviceId): SimulatedDevice;
  /** Devices without a certificate: each needs a ticket. */
  unenrolled(): Promise<readonly DevicePlan[]>;
  /** Hands out tickets; each is used when its device is switched on, and then forgotten. */
  handOut(tickets: readonly Ticket[]): void;
  /**
   * Switches devices on, a few at a time; resolves when every one of them is connected, told to wait or in trouble.
   * What goes wrong with a device is a fault of the observer.
   */
  switchOn(devices?: readonly DeviceId[], options?: SwitchingOn): Promise<void>;
  /** Unless told how, half of them lose their power, and the others say good-bye. */
  switchOff(devices: readonly DeviceId[], how?: SwitchingOff): Promise<void>;
  /** Plays the behaviours that are about being on and off; resolves when all of them are over. */
  play(signal?: AbortSignal): Promise<void>;
  /** Switches everything off in order. */
  stop(): Promise<void>;
}

export interface SwitchingOn {
  /** So many at once in place of the floor's `concurrency`. */
  readonly atOnce?: number;
  /** How each of them is switched on; their tickets are those handed out. */
  readonly equipment?: (device: DevicePlan) => Omit<SwitchOnOptions, 'ticket'>;
}

const CONCURRENCY = 32;
const DEFAULT_VERSION = 'simulated';

class SimulatedFloor implements Floor {
  readonly plans: readonly DevicePlan[];
  readonly observer: FloorObserver;
  private readonly devices: ReadonlyMap<DeviceId, SimulatedDevice>;
  private readonly tickets = new Map<DeviceId, Ticket>();
  readonly seed: string;
  private readonly concurrency: number;
  private isStopped = false;

  constructor(options: FloorOptions) {
    const {
      seed,
      gateway,
      state,
      concurrency = CONCURRENCY,
      handshakes = concurrency,
      timing = {},
      clock = systemClock,
      network = (next) => next,
      version = DEFAULT_VERSION,
    } = options;
    this.seed = seed;
    this.concurrency = concurrency;
    this.plans = planFloor({ ...options, now: clock.now() });
    this.observer = new FloorObserver(this.plans);
    const transport = network(gated(new Limiter(handshakes)));
    this.devices = new Map(
      this.plans.map((plan) => {
        const directory = state.kind === 'disk' ? join(state.directory, plan.id) : undefined;
        const setting = { seed, gateway, clock, observer: this.observer, directory, timing, transport, version };
        return [plan.id, new SimulatedDevice(plan, setting)];
      }),
    );
  }

  async unenrolled(): Promise<readonly DevicePlan[]> {
    const enrolled = new Set<DeviceId>();
    await forEachLimited(this.devices.values(), this.concurrency, async (device) => {
      if (await device.isEnrolled()) enrolled.add(device.plan.id);
    });
    return this.plans.filter(({ id }) => !enrolled.has(id));
  }

  handOut(tickets: readonly Ticket[]): void {
    for (const ticket of tickets) this.tickets.set(ticket.device, ticket);
  }

  device(id: DeviceId): SimulatedDevice {
    const device = this.devices.get(id);
    if (device === undefined) throw new CroupierError('device.not-found', `the floor has no device ${id}`);
    return device;
  }

  async switchOn(devices?: readonly DeviceId[], { atOnce, equipment }: SwitchingOn = {}): Promise<void> {
    await forEachLimited(this.chosen(devices), atOnce ?? this.concurrency, (device) =>
      this.start(device, equipment?.(device.plan)),
    );
  }

  async switchOff(devices: readonly DeviceId[], how?: SwitchingOff): Promise<void> {
    await forEachLimited(this.chosen(devices), this.concurrency, (device) =>
      device.switchOff(how ?? this.manner(device)),
    );
  }

  async play(signal?: AbortSignal): Promise<void> {
    await Promise.all([...this.devices.values()].map((device) => this.playOne(device, signal)));
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await forEachLimited(this.devices.values(), this.concurrency, (device) => device.switchOff('orderly'));
  }

  private async playOne(device: SimulatedDevice, signal: AbortSignal | undefined): Promise<void> {
    for (const behaviour of device.plan.behaviours) {
      if (behaviour.kind === 'offline') {
        await this.wait(behaviour.afterMs, signal);
        await device.switchOff(this.manner(device));
        await this.wait(behaviour.forMs, signal);
        await this.start(device);
      } else if (behaviour.kind === 'restart') {
        for (let count = 0; count < behaviour.times; count += 1) {
          await this.wait(behaviour.afterMs, signal);
          await device.switchOff('power-cut');
          await this.start(device);
        }
      }
    }
  }

  private async wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    await delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }

  private async start(device: SimulatedDevice, options: SwitchOnOptions = {}): Promise<void> {
    if (this.isStopped) return;
    const { id } = device.plan;
    try {
      await device.switchOn({ ...options, ticket: this.tickets.get(id) });
      this.tickets.delete(id);
    } catch (error) {
      this.observer.noteFault({ device: id, code: errorCode(error), message: errorMessage(error) });
    }
  }

  private manner(device: SimulatedDevice): SwitchingOff {
    return draw(this.seed, 'power-cut', device.plan.name) < 0.5 ? 'power-cut' : 'orderly';
  }

  private chosen(ids: readonly DeviceId[] | undefined): readonly SimulatedDevice[] {
    if (ids === undefined) return [...this.devices.values()];
    return ids.map((id) => this.device(id));
  }
}

/** Reconnecting after the gateway was away must not make a thousand handshakes in one process at once. */
function gated(limiter: Limiter): TransportFactory {
  return (request) => limiter.run(() => mqttTransport(request));
}

/** A floor that is off. Errors: `input.invalid` for a size that cannot be. */
export function createFloor(options: FloorOptions): Floor {
  return new SimulatedFloor(options);
}
