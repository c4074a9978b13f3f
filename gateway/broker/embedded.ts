/** The broker in the gateway's own process: aedes behind TLS with client certificates. */
import { Buffer } from 'node:buffer';
import type { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { Aedes, type Client, type PublishPacket, type Subscription } from 'aedes';
import { CroupierError, errorMessage, type ErrorCode } from '#schema/errors.ts';
import type { DeviceId, Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { reportTopic } from '#schema/topics.ts';
import type { Broker, ClientAuthorizer, Presence, ReportArrival } from '#gateway/ports/broker.ts';
import { addresseeOf, decideConnect, decidePublish, decideSubscribe, mayRetain } from './access.ts';
import { admit, CONNACK, type ConnackCode } from './admission.ts';
import { CleanSessions } from './clean-sessions.ts';
import type { DeniedAct, Denial } from './denial.ts';
import { watchConnection, type DeviceConnection } from './device-connection.ts';
import type { FrameFault } from './frames.ts';
import { brokerLimits, type BrokerLimits } from './limits.ts';
import type { Log } from './log.ts';
import { endClient, Sessions } from './sessions.ts';
import { listenTls, type BrokerTls, type TlsListener } from './tls.ts';
import { TopicTable } from './topic-table.ts';

export type { BrokerTls } from './tls.ts';
export type { Denial, DeniedAct } from './denial.ts';
export { DEFAULT_BROKER_LIMITS, type BrokerLimits } from './limits.ts';

export interface EmbeddedBrokerOptions {
  readonly realm: Realm;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly tls: BrokerTls;
  readonly authorize: ClientAuthorizer;
  readonly limits?: Partial<BrokerLimits>;
  readonly clock: Clock;
  readonly log: Log;
  /** Hears every refusal, for the audit. Must not throw. */
  readonly onDenied?: (denial: Denial) => void;
}

export interface BrokerCounters {
  readonly connected: number;
  readonly reports: number;
  /** Messages handed to the connection of a subscribed device. */
  readonly delivered: number;
  /** Messages to a device that was away, not subscribed, or had too much unacknowledged. */
  readonly dropped: number;
  readonly denied: number;
}

export interface EmbeddedBroker extends Broker {
  /** The port really bound. */
  readonly port: number;
  /** New handshakes use this from now on. Errors: `config.invalid`, and what was in use stays in use. */
  replaceTls(tls: BrokerTls): void;
  counters(): BrokerCounters;
}

type AuthenticateDone = Parameters<Aedes['authenticate']>[3];

const MQTT_5 = 5;
/** Packets that a client may pipeline behind its CONNECT. */
const PIPELINED_PACKETS = 8;

const HANDSHAKE: Readonly<Record<string, ErrorCode>> = {
  CERT_HAS_EXPIRED: 'certificate.expired',
  CERT_NOT_YET_VALID: 'certificate.not-yet-valid',
};

const FAULTS: Readonly<Record<FrameFault, { code: ErrorCode; reason: string }>> = {
  'connect-expected': { code: 'broker.denied', reason: 'the first packet is not CONNECT' },
  'length-malformed': { code: 'broker.denied', reason: 'the remaining length is malformed' },
  'packet-too-large': { code: 'input.too-large', reason: 'the packet exceeds the size limit' },
  'rate-exceeded': { code: 'broker.denied', reason: 'too many packets' },
};

const nothing = (): void => {};
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

class Embedded implements Broker {
  private readonly options: EmbeddedBrokerOptions;
  private readonly limits: BrokerLimits;
  private readonly topics = new TopicTable();
  private readonly aedes: Aedes;
  private readonly sessions: Sessions;
  /** Every connection that passed TLS, by its aedes client. */
  private readonly connections = new Map<Client, DeviceConnection>();
  private readonly reportHandlers: ((arrival: ReportArrival) => void)[] = [];
  private readonly presenceHandlers: ((presence: Presence) => void)[] = [];
  private readonly counted = { reports: 0, delivered: 0, dropped: 0, denied: 0 };
  private listener: TlsListener | undefined;
  private closed = false;

  constructor(options: EmbeddedBrokerOptions) {
    this.options = options;
    this.limits = brokerLimits(options.limits);
    this.sessions = new Sessions((presence) => this.tellPresence(presence));
    this.aedes = new Aedes({
      mq: this.topics,
      persistence: new CleanSessions(),
      connectTimeout: this.limits.connectTimeoutMs,
      drainTimeout: this.limits.drainTimeoutMs,
      keepaliveLimit: this.limits.keepaliveMaxSeconds,
      queueLimit: PIPELINED_PACKETS,
      preConnect: (client, packet, done) => {
        const { clientId, will, protocolVersion } = packet;
        const connection = this.connections.get(client);
        if (connection !== undefined) {
          connection.held = true;
          connection.clientId = clientId;
          // aedes answers MQTT 5 with "unacceptable protocol version"; there is nothing else to judge in it.
          const intent = will && { topic: will.topic, qos: will.qos ?? 0, size: Buffer.byteLength(will.payload) };
          connection.verdict =
            protocolVersion === MQTT_5 ? { allowed: true } : decideConnect(options.realm, { clientId, will: intent });
        }
        // No session outlives its connection; and a last will would reach nobody, since presence is seen here.
        packet.clean = true;
        delete packet.will;
        done(null, true);
      },
      authenticate: (client, _username, _password, done) => {
        void this.authenticate(client, done);
      },
      authorizePublish: (client, packet, done) => done(client === null ? null : this.receive(client, packet)),
      authorizeSubscribe: (client, subscription, done) =>
        done(null, this.judgeSubscribe(client, subscription) ? subscription : null),
    });
    this.aedes.on('clientReady', (client) => {
      const connection = this.connections.get(client);
      if (connection !== undefined) this.sessions.announce(connection);
    });
    for (const event of ['clientError', 'connectionError'] as const) {
      this.aedes.on(event, (client, error) => this.logEnd(client, error));
    }
    const events: EventEmitter = this.aedes;
    events.on('error', (error: unknown) => options.log.error({ error: errorMessage(error) }, 'MQTT broker failed'));
  }

  async open(): Promise<number> {
    const { host, port, tls } = this.options;
    await this.aedes.listen();
    try {
      this.listener = await listenTls({
        host,
        port,
        tls,
        handshakeTimeoutMs: this.limits.connectTimeoutMs,
        maxConnections: this.limits.maxConnections,
        onConnection: (socket) => this.accept(socket),
        onRefused: (reason, address) =>
          this.deny('handshake', { code: HANDSHAKE[reason] ?? 'certificate.untrusted', reason, address }),
        onFull: () => this.deny('connection', { code: 'broker.denied', reason: 'too many connections' }),
      });
    } catch (error) {
      this.aedes.close();
      throw error;
    }
    return this.listener.port;
  }

  replaceTls(tls: BrokerTls): void {
    this.listener?.replaceTls(tls);
  }

  counters(): BrokerCounters {
    return { connected: this.sessions.count, ...this.counted };
  }

  async publish(topic: string, payload: Uint8Array, options: { readonly retain?: boolean } = {}): Promise<void> {
    if (this.closed) throw new CroupierError('broker.unavailable', 'The MQTT broker is closed');
    const { realm } = this.options;
    const retain = options.retain === true;
    if (retain && !mayRetain(realm, topic)) {
      throw new CroupierError('input.invalid', `Only the trust topic is retained, not ${topic}`);
    }
    const packet = { cmd: 'publish', topic, payload: asBuffer(payload), qos: 1, retain, dup: false } as const;
    const device = addresseeOf(realm, topic);
    if (device !== undefined) {
      this.deliver(device, packet);
      return;
    }
    await new Promise<void>((resolve, reject) => {
      this.aedes.publish({ ...packet }, (error) => {
        if (error === undefined || error === null) resolve();
        else reject(new CroupierError('broker.unavailable', `Cannot publish on ${topic}`, { cause: error }));
      });
    });
  }

  onReport(handler: (arrival: ReportArrival) => void): void {
    this.reportHandlers.push(handler);
  }

  onPresence(handler: (presence: Presence) => void): void {
    this.presenceHandlers.push(handler);
  }

  isConnected(device: DeviceId): boolean {
    return this.sessions.of(device) !== undefined;
  }

  connectedDevices(): Iterable<DeviceId> {
    return this.sessions.devices();
  }

  /** Those that are only being made, too: they may have been authorised just before the device was contained. */
  async disconnect(device: DeviceId): Promise<void> {
    const ended: Promise<void>[] = [];
    for (const connection of this.connections.values()) {
      if (connection.identity?.device !== device && connection.clientId !== device) continue;
      this.sessions.vacate(connection, 'dropped');
      ended.push(new Promise<void>((resolve) => endClient(connection, resolve)));
    }
    await Promise.all(ended);
  }

  /** Ends every connection; nothing is reported of these. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.reportHandlers.length = 0;
    this.presenceHandlers.length = 0;
    for (const connection of this.connections.values()) endClient(connection, nothing);
    await this.listener?.close();
    await new Promise<void>((resolve) => this.aedes.close(() => resolve()));
  }

  private accept(socket: TLSSocket): void {
    if (this.closed || !socket.authorized) {
      socket.destroy();
      return;
    }
    const connection = watchConnection(socket, this.limits, this.options.clock, (fault) => {
      this.denyConnection(connection, 'packet', FAULTS[fault]);
      socket.destroy();
    });
    const client = this.aedes.handle(socket);
    connection.client = client;
    this.connections.set(client, connection);
    socket.once('close', () => {
      this.connections.delete(client);
      this.sessions.vacate(connection, connection.leaving);
    });
  }

  private async authenticate(client: Client, done: AuthenticateDone): Promise<void> {
    const refusal = await this.refusal(client);
    if (refusal === undefined) done(null, true);
    else done(Object.assign(new Error('the client is refused'), { returnCode: refusal }), false);
  }

  /** The CONNACK code of the refusal, or undefined when the device may come in. */
  private async refusal(client: Client): Promise<ConnackCode | undefined> {
    const connection = this.connections.get(client);
    if (connection === undefined) return CONNACK.serverUnavailable;
    const { authorize, clock } = this.options;
    const admission = await admit(connection, authorize, clock, this.limits.connectTimeoutMs);
    connection.verdict = undefined;
    if (connection.socket.destroyed) return CONNACK.serverUnavailable;
    if (!admission.admitted) {
      this.denyConnection(connection, 'connect', admission);
      return admission.connack;
    }
    if (!(await this.sessions.take(connection, admission))) return CONNACK.serverUnavailable;
    connection.held = false;
    return undefined;
  }

  /**
   * Judges a PUBLISH and hands a report over before aedes acknowledges it: after the PUBACK the device may be gone and
   * with it all that is known of the connection. An error ends the connection, which is all that MQTT 3.1.1 offers a
   * server that refuses (3.3.5-2).
   */
  private receive(client: Client, packet: PublishPacket): Error | null {
    const connection = this.connections.get(client);
    const device = connection?.identity?.device;
    if (connection === undefined || device === undefined) return new Error('the connection is not authorised');
    const { topic, qos, retain, payload } = packet;
    const verdict = decidePublish(this.options.realm, device, { topic, qos, retain, size: payload.length });
    if (!verdict.allowed) {
      this.denyConnection(connection, 'publish', { code: 'broker.denied', reason: verdict.reason, topic });
      return new Error(verdict.reason);
    }
    packet.retain = false;
    if (topic === reportTopic(this.options.realm, device)) {
      this.counted.reports += 1;
      const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
      for (const handler of this.reportHandlers) handler({ device, payload: bytes, address: connection.address });
    }
    return null;
  }

  /** A refusal is answered with SUBACK 0x80 (MQTT 3.1.1, 3.9.3); the connection stays. */
  private judgeSubscribe(client: Client, { topic, qos }: Subscription): boolean {
    const connection = this.connections.get(client);
    const device = connection?.identity?.device;
    if (connection === undefined || device === undefined) return false;
    const verdict = decideSubscribe(this.options.realm, device, topic);
    if (!verdict.allowed) {
      this.denyConnection(connection, 'subscribe', { code: 'broker.denied', reason: verdict.reason, topic });
      return false;
    }
    if (qos === 0 && addresseeOf(this.options.realm, topic) !== undefined) connection.acknowledges = false;
    return true;
  }

  /**
   * Straight to the subscription of the one device, past retained messages and offline queues, which a device topic has
   * none of. Does not wait for the device: one that reads nothing is cut off after `drainTimeoutMs`.
   */
  private deliver(device: DeviceId, packet: PublishPacket): void {
    const connection = this.sessions.of(device);
    if (connection === undefined || !this.topics.has(packet.topic)) {
      this.counted.dropped += 1;
      return;
    }
    const { unacknowledged, socket } = connection;
    if (unacknowledged >= this.limits.maxUnacknowledged || socket.writableLength > this.limits.maxBufferedBytes) {
      this.counted.dropped += 1;
      this.options.log.warn({ device, unacknowledged }, 'Message dropped: the device does not keep up');
      return;
    }
    if (connection.acknowledges) connection.unacknowledged += 1;
    this.counted.delivered += 1;
    this.topics.emit({ ...packet, brokerId: '', brokerCounter: 0 });
  }

  private tellPresence(presence: Presence): void {
    for (const handler of this.presenceHandlers) handler(presence);
  }

  private denyConnection(
    connection: DeviceConnection,
    act: DeniedAct,
    { code, reason, topic }: { code: ErrorCode; reason: string; topic?: string },
  ): void {
    this.deny(act, {
      code,
      reason,
      topic: topic?.slice(0, 256),
      device: connection.identity?.device,
      clientId: connection.clientId?.slice(0, 64),
      address: connection.address,
    });
  }

  private deny(act: DeniedAct, denial: Pick<Denial, 'code' | 'reason'> & Partial<Denial>): void {
    if (this.closed) return;
    this.counted.denied += 1;
    const whole: Denial = {
      device: undefined,
      clientId: undefined,
      topic: undefined,
      address: undefined,
      ...denial,
      act,
    };
    this.options.log.warn(whole, `MQTT ${act} refused: ${denial.reason}`);
    this.options.onDenied?.(whole);
  }

  private logEnd(client: Client, error: Error): void {
    const connection = this.connections.get(client);
    this.options.log.debug({ clientId: connection?.clientId, error: error.message }, 'MQTT connection ended');
  }
}

/**
 * Binds the port and serves devices. Only holders of a certificate below a Device CA get through TLS; the client id must
 * be its common name and the authorizer must agree. Sessions are always clean, QoS 2 is not offered, MQTT 5 is refused
 * with its own CONNACK code. A device may publish its reports and status and subscribe to its update, trust link and
 * trust topics: another PUBLISH ends the connection, another SUBSCRIBE gets 0x80. A second connection of the same device
 * ends the first, which is reported as `taken-over`.
 *
 * Errors: `port.in-use`, `config.invalid`.
 */
export async function createEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  const broker = new Embedded(options);
  const port = await broker.open();
  return {
    port,
    replaceTls: (tls) => broker.replaceTls(tls),
    counters: () => broker.counters(),
    publish: (topic, payload, how) => broker.publish(topic, payload, how),
    onReport: (handler) => broker.onReport(handler),
    onPresence: (handler) => broker.onPresence(handler),
    isConnected: (device) => broker.isConnected(device),
    connectedDevices: () => broker.connectedDevices(),
    disconnect: (device) => broker.disconnect(device),
    close: () => broker.close(),
  };
}
