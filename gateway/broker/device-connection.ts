/** One TLS connection of one client: what the broker counts and knows about it beside what aedes keeps. */
import { Buffer } from 'node:buffer';
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
  /**
   * From CONNECT until the client is authenticated nothing more is read: aedes would treat a packet that comes in a
   * chunk of its own as if the client were authenticated already.
   */
  held: boolean;
  identity: { readonly device: DeviceId; readonly serial: Serial } | undefined;
  /** CONNACK is sent and the device is announced. */
  ready: boolean;
  /** It took the seat of a connection that was announced: the device counts as there until somebody says otherwise. */
  heir: boolean;
  /** Messages sent with QoS 1 and not acknowledged. */
  unacknowledged: number;
  /** False once the device has subscribed to one of its topics with QoS 0, which is never acknowledged. */
  acknowledges: boolean;
}

/**
 * All that the socket holds. aedes reads once per `readable` event and takes that for everything, but Node 26
 * answers one buffer at a time, and what is left would wait for an event that never comes. Bounded by the socket's
 * highWaterMark.
 */
function drain(read: (size?: number) => unknown, size: number | undefined): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = read(size);
    if (!(chunk instanceof Uint8Array)) return chunks;
    chunks.push(chunk);
  }
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
    held: false,
    identity: undefined,
    ready: false,
    heir: false,
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
  let faulty = false;
  socket.read = (size?: number): unknown => {
    if (connection.held) return null;
    const chunks = drain(read, size);
    for (const chunk of chunks) {
      // What follows a fault has no meaning any more; the socket may still hold some of it.
      const fault = faulty ? undefined : reader.scan(chunk);
      if (fault === undefined) continue;
      faulty = true;
      onFault(fault);
    }
    if (faulty || chunks.length === 0) return null;
    return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  };
  return connection;
}
