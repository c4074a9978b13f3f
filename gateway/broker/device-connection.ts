/** One TLS connection of one client: what the broker counts and knows about it beside what aedes keeps. */
import type { TLSSocket } from 'node:tls';
import type { Client } from 'aedes';
import type { DeviceId, Serial } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Presence } from '#gateway/ports/broker.ts';
import { FrameReader, PACKET, type FrameFault } from './frames.ts';
import type { BrokerLimits } from './limits.ts';
import { TokenBucket } from './rate-limit.ts';
import type { Verdict } from './access.ts';

export type LeaveReason = Extract<Presence, { kind: 'disconnected' }>['reason'];

export interface DeviceConnection {
  readonly socket: TLSSocket;
  readonly address: string | undefined;
  /** How it will have ended: `closed` once the client has said DISCONNECT. */
  leaving: LeaveReason;
  /** As the client claims it, from CONNECT. */
  clientId: string | undefined;
  /** Of the CONNECT packet; kept until the client is authenticated. */
  verdict: Verdict | undefined;
  client: Client | undefined;
  identity: { readonly device: DeviceId; readonly serial: Serial } | undefined;
  /** CONNACK is sent and the device is announced. */
  ready: boolean;
  /** Messages sent with QoS 1 and not acknowledged. */
  unacknowledged: number;
  /** False once the device has subscribed to one of its topics with QoS 0, which is never acknowledged. */
  acknowledges: boolean;
}

/**
 * Puts the frame reader between the socket and the parser of aedes, which would otherwise buffer a packet of any length
 * (the MQTT maximum is 256 MiB) before anybody could refuse it. `onFault` must cut the connection.
 */
export function watchConnection(
  socket: TLSSocket,
  limits: BrokerLimits,
  clock: Clock,
  onFault: (fault: FrameFault) => void,
): DeviceConnection {
  const connection: DeviceConnection = {
    socket,
    address: socket.remoteAddress,
    leaving: 'dropped',
    clientId: undefined,
    verdict: undefined,
    client: undefined,
    identity: undefined,
    ready: false,
    unacknowledged: 0,
    acknowledges: true,
  };
  const bucket = new TokenBucket({ perSecond: limits.messagesPerSecond, burst: limits.burst }, clock.monotonic());
  const reader = new FrameReader(limits, (type) => {
    if (type === PACKET.puback && connection.unacknowledged > 0) {
      connection.unacknowledged -= 1;
      return true;
    }
    if (type === PACKET.disconnect) connection.leaving = 'closed';
    return bucket.take(clock.monotonic());
  });
  const read = socket.read.bind(socket);
  socket.read = (size?: number): unknown => {
    const chunk: unknown = read(size);
    if (!(chunk instanceof Uint8Array)) return chunk;
    const fault = reader.scan(chunk);
    if (fault === undefined) return chunk;
    onFault(fault);
    return null;
  };
  return connection;
}
