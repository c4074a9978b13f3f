/** What the broker refused, for the log and the audit. Holds nothing secret and nothing unbounded. */
import type { ErrorCode } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';

export type DeniedAct =
  /** No certificate, a certificate that does not chain to a Device CA, or an expired one. */
  | 'handshake'
  /** The listener is full. */
  | 'connection'
  | 'connect'
  | 'publish'
  | 'subscribe'
  /** Oversized, malformed or too many packets. */
  | 'packet';

export interface Denial {
  readonly act: DeniedAct;
  readonly code: ErrorCode;
  readonly reason: string;
  /** Of the certificate; undefined until the connection is authorised. */
  readonly device: DeviceId | undefined;
  /** As the client claimed it, cut to 64 characters. */
  readonly clientId: string | undefined;
  /** Cut to 256 characters. */
  readonly topic: string | undefined;
  readonly address: string | undefined;
}
