/**
 * The Broker port: a doorbell. It carries bytes to connected devices and tells who is there; it is not trusted and
 * promises no delivery. Everything that must hold, holds with an empty broker (D§1.1).
 *
 * Every implementation passes `test/contract/broker.contract.ts`.
 */
import type { DeviceId, Serial } from '#schema/ids.ts';
import type { ErrorCode } from '#schema/errors.ts';

export interface ReportArrival {
  readonly device: DeviceId;
  /** CMS, DER; nothing of it is verified but that the device's connection sent it. */
  readonly payload: Uint8Array;
  /** Address of the connection, where the broker knows it. */
  readonly address: string | undefined;
}

export type Presence =
  | {
      readonly kind: 'connected';
      readonly device: DeviceId;
      readonly serial: Serial | undefined;
      readonly address: string | undefined;
    }
  | { readonly kind: 'disconnected'; readonly device: DeviceId; readonly reason: 'closed' | 'taken-over' | 'dropped' };

/** Whether the holder of a client certificate may connect as `clientId`. Answers within milliseconds. */
export type ClientAuthorizer = (request: {
  /** DER, already verified by TLS to chain to the Device CA. */
  readonly certificate: Uint8Array;
  readonly clientId: string;
  readonly address: string | undefined;
}) => Promise<
  | { readonly allowed: true; readonly device: DeviceId; readonly serial: Serial }
  | { readonly allowed: false; readonly code: ErrorCode }
>;

export interface Broker {
  /** Hands the payload to the broker (QoS 1 to a connected device). Errors: `broker.unavailable`. */
  publish(topic: string, payload: Uint8Array, options?: { readonly retain?: boolean }): Promise<void>;
  onReport(handler: (arrival: ReportArrival) => void): void;
  onPresence(handler: (presence: Presence) => void): void;
  isConnected(device: DeviceId): boolean;
  connectedDevices(): Iterable<DeviceId>;
  /** Ends the device's connection at once. */
  disconnect(device: DeviceId): Promise<void>;
  close(): Promise<void>;
}
