/** What a challengePassword may hold to bind a request to its TLS connection (RFC 7030, 3.5). */
import { Buffer } from 'node:buffer';
import type { TLSSocket } from 'node:tls';

/**
 * The bindings of the connection, base64: tls-unique on TLS 1.2 (RFC 5929, 3), which is the client's Finished since
 * sessions are never resumed nor renegotiated here, and tls-exporter on TLS 1.3 (RFC 9266).
 */
export function channelBindings(socket: TLSSocket): readonly string[] {
  if (socket.getProtocol() === 'TLSv1.3') {
    const exported = socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
    return [exported.toString('base64')];
  }
  const finished = socket.getPeerFinished();
  return finished === undefined ? [] : [finished.toString('base64')];
}
