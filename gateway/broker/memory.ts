/**
 * A broker without a network: the working fake for tests and for the model. It keeps the rules of the port, and it can
 * lose, double, delay and so reorder what it carries, reproducibly from a seed.
 */
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId, Realm, Serial } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { reportTopic } from '#schema/topics.ts';
import type { Broker, Presence, ReportArrival } from '#gateway/ports/broker.ts';
import { decidePublish, decideSubscribe, mayRetain } from './access.ts';

/** Each in [0, 1], for every message in either direction on its own. */
export interface BrokerFaults {
  readonly lose: number;
  readonly duplicate: number;
  /** Messages take a random time up to this and so overtake each other. */
  readonly maxDelayMs: number;
}

export const NO_FAULTS: BrokerFaults = { lose: 0, duplicate: 0, maxDelayMs: 0 };

export type DisconnectReason = Extract<Presence, { kind: 'disconnected' }>['reason'];

/** The device's side of one connection. */
export interface MemoryDevice {
  readonly device: DeviceId;
  readonly connected: boolean;
  /** False when the filter is not one the device may subscribe to. */
  subscribe(filter: string): boolean;
  onMessage(handler: (topic: string, payload: Uint8Array) => void): void;
  onClose(handler: (reason: DisconnectReason) => void): void;
  /** Errors: `broker.denied`, which ends the connection; `broker.unavailable` when there is none. */
  publish(topic: string, payload: Uint8Array): void;
  /** Leaves in order. */
  close(): void;
  /** Is gone, as after a power cut. */
  drop(): void;
}

export interface MemoryBrokerOptions {
  readonly realm: Realm;
  readonly clock: Clock;
  readonly random: Random;
  readonly faults?: BrokerFaults;
}

export interface MemoryBroker extends Broker {
  /** Connects a device; an earlier connection of the same device ends, `taken-over`. Errors: `broker.unavailable`. */
  connect(device: DeviceId, about?: { readonly serial?: Serial; readonly address?: string }): MemoryDevice;
  /** From now on; what is under way keeps its fate. */
  setFaults(faults: BrokerFaults): void;
}

class Connection implements MemoryDevice {
  readonly device: DeviceId;
  readonly address: string | undefined;
  readonly filters = new Set<string>();
  private readonly broker: Memory;
  private readonly messageHandlers: ((topic: string, payload: Uint8Array) => void)[] = [];
  private readonly closeHandlers: ((reason: DisconnectReason) => void)[] = [];

  constructor(broker: Memory, device: DeviceId, address: string | undefined) {
    this.broker = broker;
    this.device = device;
    this.address = address;
  }

  get connected(): boolean {
    return this.broker.holds(this);
  }

  subscribe(filter: string): boolean {
    if (!this.connected) throw new CroupierError('broker.unavailable', `${this.device} is not connected`);
    if (!decideSubscribe(this.broker.realm, this.device, filter).allowed) return false;
    this.filters.add(filter);
    this.broker.sendRetained(this, filter);
    return true;
  }

  onMessage(handler: (topic: string, payload: Uint8Array) => void): void {
    this.messageHandlers.push(handler);
  }

  onClose(handler: (reason: DisconnectReason) => void): void {
    this.closeHandlers.push(handler);
  }

  publish(topic: string, payload: Uint8Array): void {
    this.broker.arrive(this, topic, payload);
  }

  close(): void {
    this.broker.end(this, 'closed');
  }

  drop(): void {
    this.broker.end(this, 'dropped');
  }

  receive(topic: string, payload: Uint8Array): void {
    for (const handler of this.messageHandlers) handler(topic, payload);
  }

  ended(reason: DisconnectReason): void {
    for (const handler of this.closeHandlers) handler(reason);
  }
}

class Memory implements MemoryBroker {
  readonly realm: Realm;
  private readonly clock: Clock;
  private readonly random: Random;
  private faults: BrokerFaults;
  private readonly connections = new Map<DeviceId, Connection>();
  private readonly retained = new Map<string, Uint8Array>();
  private readonly reportHandlers: ((arrival: ReportArrival) => void)[] = [];
  private readonly presenceHandlers: ((presence: Presence) => void)[] = [];
  private closed = false;

  constructor(options: MemoryBrokerOptions) {
    this.realm = options.realm;
    this.clock = options.clock;
    this.random = options.random;
    this.faults = options.faults ?? NO_FAULTS;
  }

  connect(device: DeviceId, about: { readonly serial?: Serial; readonly address?: string } = {}): MemoryDevice {
    this.mustBeOpen();
    const occupant = this.connections.get(device);
    if (occupant !== undefined) this.end(occupant, 'taken-over');
    const connection = new Connection(this, device, about.address);
    this.connections.set(device, connection);
    this.tell({ kind: 'connected', device, serial: about.serial, address: about.address });
    return connection;
  }

  setFaults(faults: BrokerFaults): void {
    this.faults = faults;
  }

  async publish(topic: string, payload: Uint8Array, options: { readonly retain?: boolean } = {}): Promise<void> {
    this.mustBeOpen();
    if (options.retain === true) {
      if (!mayRetain(this.realm, topic)) {
        throw new CroupierError('input.invalid', `Only the trust topic is retained, not ${topic}`);
      }
      if (payload.length === 0) this.retained.delete(topic);
      else this.retained.set(topic, payload.slice());
    }
    for (const { device, filters } of this.connections.values()) {
      if (filters.has(topic)) this.carryTo(device, topic, payload);
    }
  }

  onReport(handler: (arrival: ReportArrival) => void): void {
    this.reportHandlers.push(handler);
  }

  onPresence(handler: (presence: Presence) => void): void {
    this.presenceHandlers.push(handler);
  }

  isConnected(device: DeviceId): boolean {
    return this.connections.has(device);
  }

  connectedDevices(): Iterable<DeviceId> {
    return this.connections.keys();
  }

  async disconnect(device: DeviceId): Promise<void> {
    const connection = this.connections.get(device);
    if (connection !== undefined) this.end(connection, 'dropped');
  }

  async close(): Promise<void> {
    this.closed = true;
    this.reportHandlers.length = 0;
    this.presenceHandlers.length = 0;
    for (const connection of this.connections.values()) this.end(connection, 'dropped');
  }

  holds(connection: Connection): boolean {
    return this.connections.get(connection.device) === connection;
  }

  sendRetained({ device }: Connection, filter: string): void {
    const payload = this.retained.get(filter);
    if (payload !== undefined) this.carryTo(device, filter, payload);
  }

  arrive(connection: Connection, topic: string, payload: Uint8Array): void {
    const { device, address } = connection;
    if (!this.holds(connection)) throw new CroupierError('broker.unavailable', `${device} is not connected`);
    const verdict = decidePublish(this.realm, device, { topic, qos: 1, retain: false, size: payload.length });
    if (!verdict.allowed) {
      this.end(connection, 'dropped');
      throw new CroupierError('broker.denied', `${device} may not publish on ${topic}: ${verdict.reason}`);
    }
    if (topic !== reportTopic(this.realm, device)) return;
    const bytes = payload.slice();
    this.carry(() => {
      for (const handler of this.reportHandlers) handler({ device, payload: bytes, address });
    });
  }

  end(connection: Connection, reason: DisconnectReason): void {
    if (!this.holds(connection)) return;
    this.connections.delete(connection.device);
    this.tell({ kind: 'disconnected', device: connection.device, reason });
    connection.ended(reason);
  }

  /** To whoever is connected as the device when the message arrives, which need not be who was when it was sent. */
  private carryTo(device: DeviceId, topic: string, payload: Uint8Array): void {
    const bytes = payload.slice();
    this.carry(() => {
      const connection = this.connections.get(device);
      if (connection?.filters.has(topic) === true) connection.receive(topic, bytes);
    });
  }

  private carry(deliver: () => void): void {
    const { lose, duplicate, maxDelayMs } = this.faults;
    if (lose > 0 && this.random.fraction() < lose) return;
    const times = duplicate > 0 && this.random.fraction() < duplicate ? 2 : 1;
    for (let sent = 0; sent < times; sent += 1) {
      if (maxDelayMs > 0) this.clock.after(this.random.fraction() * maxDelayMs, deliver);
      else queueMicrotask(deliver);
    }
  }

  private tell(presence: Presence): void {
    for (const handler of this.presenceHandlers) handler(presence);
  }

  private mustBeOpen(): void {
    if (this.closed) throw new CroupierError('broker.unavailable', 'The broker is closed');
  }
}

/** Without faults, messages arrive in order in a later microtask; with delays, when the clock says so. */
export function createMemoryBroker(options: MemoryBrokerOptions): MemoryBroker {
  return new Memory(options);
}
