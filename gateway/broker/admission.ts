/** From a CONNECT packet to an authorised device: certificate, client id and the authorizer must agree. */
import type { X509Certificate } from 'node:crypto';
import { errorMessage, type ErrorCode } from '#schema/errors.ts';
import type { DeviceId, Serial } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { ClientAuthorizer } from '#gateway/ports/broker.ts';
import type { DeviceConnection } from './device-connection.ts';

/** CONNACK return codes (MQTT 3.1.1, table 3.1). */
export const CONNACK = { identifierRejected: 2, serverUnavailable: 3, notAuthorized: 5 } as const;
export type ConnackCode = (typeof CONNACK)[keyof typeof CONNACK];

export type Admission =
  | { readonly admitted: true; readonly device: DeviceId; readonly serial: Serial }
  | { readonly admitted: false; readonly connack: ConnackCode; readonly code: ErrorCode; readonly reason: string };

const refuse = (connack: ConnackCode, code: ErrorCode, reason: string): Admission => ({
  admitted: false,
  connack,
  code,
  reason,
});

/** Whether the subject has `name` as its one common name, alone in its RDN. A line break inside a value is escaped. */
export function isNamed(certificate: X509Certificate, name: string): boolean {
  const commonNames = certificate.subject.split('\n').filter((line) => line.startsWith('CN='));
  return commonNames.length === 1 && commonNames[0] === `CN=${name}`;
}

async function within<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  let cancel: (() => void) | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    cancel = clock.after(ms, () => reject(new Error('the authorizer did not answer in time')));
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    cancel?.();
  }
}

/** Judges a connection whose TLS handshake has verified the certificate against the Device CAs. Never throws. */
export async function admit(
  connection: DeviceConnection,
  authorize: ClientAuthorizer,
  clock: Clock,
  deadlineMs: number,
): Promise<Admission> {
  const { clientId, verdict, address } = connection;
  const certificate = connection.socket.getPeerX509Certificate();
  if (clientId === undefined || verdict === undefined || certificate === undefined) {
    return refuse(CONNACK.notAuthorized, 'broker.denied', 'the connection has no certificate');
  }
  if (!verdict.allowed) return refuse(CONNACK.identifierRejected, 'broker.denied', verdict.reason);
  if (!isNamed(certificate, clientId)) {
    return refuse(
      CONNACK.identifierRejected,
      'broker.denied',
      'the client id is not the common name of the certificate',
    );
  }
  try {
    const answer = await within(clock, deadlineMs, authorize({ certificate: certificate.raw, clientId, address }));
    if (!answer.allowed) return refuse(CONNACK.notAuthorized, answer.code, 'the device is not authorised');
    if (answer.device !== clientId) {
      return refuse(CONNACK.identifierRejected, 'broker.denied', 'the certificate belongs to another device');
    }
    return { admitted: true, device: answer.device, serial: answer.serial };
  } catch (error) {
    return refuse(CONNACK.serverUnavailable, 'broker.unavailable', `the authorizer failed: ${errorMessage(error)}`);
  }
}
