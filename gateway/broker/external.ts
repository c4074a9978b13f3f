/**
 * A broker run by somebody else (Mosquitto, EMQX, HiveMQ …), through mqtt.js. Its access rules are its own
 * configuration: docs/external-broker.md. What is weaker than in the embedded broker:
 * - presence is a hint: a status topic says `online` or `offline`, a report means the device is there;
 * - who sent a report is what the broker's access rules make of its topic;
 * - a connection can be ended only through `endConnection`, which is the vendor's interface.
 */
import { Buffer } from 'node:buffer';
import { connect, type MqttClient } from 'mqtt';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { DeviceId, Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { deviceOfTopic, reportTopic, reportTopicFilter, statusTopicFilter } from '#schema/topics.ts';
import type { Broker, Presence, ReportArrival } from '#gateway/ports/broker.ts';
import { mayRetain } from './access.ts';
import type { Log } from './log.ts';

export interface ExternalBrokerOptions {
  readonly realm: Realm;
  /** `mqtts://host:port` */
  readonly url: string;
  /** Unique among the gateways of the broker. */
  readonly clientId: string;
  /** PEM: the gateway's client key and certificate for the broker, and the CAs of the broker's certificate. */
  readonly tls: { readonly key: string; readonly cert: string; readonly cas: readonly string[] };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Reconnection waits a random time up to a limit that doubles from `firstMs` to `maxMs`. */
  readonly backoff?: { readonly firstMs: number; readonly maxMs: number };
  /** For one publish to be acknowledged by the broker. */
  readonly publishTimeoutMs?: number;
  /** Ends a device's connection through the broker's own interface, if it has one. */
  readonly endConnection?: (device: DeviceId) => Promise<void>;
}

export interface ExternalBroker extends Broker {
  /** Whether the broker can be reached now. */
  readonly online: boolean;
  /** Resolves when the broker is reached and the subscriptions are made. Errors: `broker.unavailable` when closed before. */
  whenOnline(): Promise<void>;
}

const DEFAULT_BACKOFF = { firstMs: 500, maxMs: 30_000 };
const DEFAULT_PUBLISH_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;
const KEEPALIVE_SECONDS = 30;
/** Messages that the broker has not acknowledged yet; further ones are refused. */
const MAXIMUM_IN_FLIGHT = 4096;
const ONLINE = 'online';

/** A random wait up to `firstMs` doubled with every failure, at most `maxMs` (full jitter). */
export function backoffMs(limits: { firstMs: number; maxMs: number }, failures: number, fraction: number): number {
  return Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(failures, 30)) * fraction;
}

class External implements ExternalBroker {
  online = false;
  private readonly options: ExternalBrokerOptions;
  private readonly client: MqttClient;
  private readonly present = new Set<DeviceId>();
  private readonly reportHandlers: ((arrival: ReportArrival) => void)[] = [];
  private readonly presenceHandlers: ((presence: Presence) => void)[] = [];
  private waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  private failures = 0;
  private inFlight = 0;
  private closed = false;
  private cancelReconnect: (() => void) | undefined;

  constructor(options: ExternalBrokerOptions) {
    this.options = options;
    const { url, clientId, tls } = options;
    this.client = connect(url, {
      clientId,
      key: tls.key,
      cert: tls.cert,
      ca: [...tls.cas],
      rejectUnauthorized: true,
      protocolVersion: 4,
      clean: true,
      resubscribe: false,
      queueQoSZero: false,
      // Reconnection is ours: mqtt.js knows neither growing nor random waits.
      reconnectPeriod: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepalive: KEEPALIVE_SECONDS,
      timerVariant: 'native',
    });
    this.client.on('connect', () => this.subscribe());
    this.client.on('close', () => this.lost());
    this.client.on('error', (error) =>
      options.log.warn({ url, error: error.message }, 'MQTT broker refused or failed'),
    );
    this.client.on('message', (topic, payload) => this.arrived(topic, payload));
  }

  whenOnline(): Promise<void> {
    if (this.online) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (this.closed) reject(this.unavailable('is closed'));
      else this.waiting.push({ resolve, reject });
    });
  }

  async publish(topic: string, payload: Uint8Array, options: { readonly retain?: boolean } = {}): Promise<void> {
    const retain = options.retain === true;
    if (retain && !mayRetain(this.options.realm, topic)) {
      throw new CroupierError('input.invalid', `Only the trust topic is retained, not ${topic}`);
    }
    if (!this.online) throw this.unavailable('cannot be reached');
    if (this.inFlight >= MAXIMUM_IN_FLIGHT) throw this.unavailable('does not keep up');
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    this.inFlight += 1;
    try {
      await new Promise<void>((resolve, reject) => {
        const late = this.options.publishTimeoutMs ?? DEFAULT_PUBLISH_TIMEOUT_MS;
        const cancel = this.options.clock.after(late, () => reject(this.unavailable('did not acknowledge in time')));
        this.client.publish(topic, bytes, { qos: 1, retain }, (error) => {
          cancel();
          if (error === undefined || error === null) resolve();
          else reject(this.unavailable('did not take a message', error));
        });
      });
    } finally {
      this.inFlight -= 1;
    }
  }

  onReport(handler: (arrival: ReportArrival) => void): void {
    this.reportHandlers.push(handler);
  }

  onPresence(handler: (presence: Presence) => void): void {
    this.presenceHandlers.push(handler);
  }

  isConnected(device: DeviceId): boolean {
    return this.present.has(device);
  }

  connectedDevices(): Iterable<DeviceId> {
    return this.present.values();
  }

  /** Forgets that the device is there, and has its connection ended where `endConnection` can. */
  async disconnect(device: DeviceId): Promise<void> {
    this.note(device, false);
    await this.options.endConnection?.(device);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.online = false;
    this.reportHandlers.length = 0;
    this.presenceHandlers.length = 0;
    this.cancelReconnect?.();
    for (const { reject } of this.waiting.splice(0)) reject(this.unavailable('is closed'));
    await this.client.endAsync(true);
  }

  private subscribe(): void {
    const { realm, log, url } = this.options;
    this.client.subscribe([reportTopicFilter(realm), statusTopicFilter(realm)], { qos: 1 }, (error) => {
      if (error !== null && error !== undefined) {
        log.error({ url, error: errorMessage(error) }, 'MQTT broker refuses the subscription of the gateway');
        this.client.stream.destroy();
        return;
      }
      this.online = true;
      this.failures = 0;
      log.info({ url }, 'MQTT broker reached');
      for (const { resolve } of this.waiting.splice(0)) resolve();
    });
  }

  /** Presence is kept: the devices are still connected to the broker, and say so if they are not. */
  private lost(): void {
    this.online = false;
    if (this.closed) return;
    const { backoff = DEFAULT_BACKOFF, clock, random } = this.options;
    this.cancelReconnect?.();
    this.cancelReconnect = clock.after(backoffMs(backoff, this.failures, random.fraction()), () =>
      this.client.reconnect(),
    );
    this.failures += 1;
  }

  private arrived(topic: string, payload: Uint8Array): void {
    const device = deviceOfTopic(this.options.realm, topic);
    if (device === undefined) return;
    if (topic !== reportTopic(this.options.realm, device)) {
      this.note(device, Buffer.from(payload).toString('latin1') === ONLINE);
      return;
    }
    this.note(device, true);
    for (const handler of this.reportHandlers) handler({ device, payload, address: undefined });
  }

  private note(device: DeviceId, there: boolean): void {
    if (this.present.has(device) === there) return;
    if (there) this.present.add(device);
    else this.present.delete(device);
    const presence: Presence = there
      ? { kind: 'connected', device, serial: undefined, address: undefined }
      : { kind: 'disconnected', device, reason: 'dropped' };
    for (const handler of this.presenceHandlers) handler(presence);
  }

  private unavailable(what: string, cause?: unknown): CroupierError {
    return new CroupierError('broker.unavailable', `The MQTT broker at ${this.options.url} ${what}`, { cause });
  }
}

/**
 * Connects in the background and for ever: the gateway works while the broker is away, and devices are served when it is
 * back. TLS verifies the broker against `tls.cas`.
 */
export function createExternalBroker(options: ExternalBrokerOptions): ExternalBroker {
  return new External(options);
}
