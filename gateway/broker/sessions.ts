/**
 * Which connection speaks for which device. The registry of aedes is not used for this: connections of one device that
 * overlap can remove each other from it.
 */
import type { DeviceId, Serial } from '#schema/ids.ts';
import type { Presence } from '#gateway/ports/broker.ts';
import type { DeviceConnection, LeaveReason } from './device-connection.ts';

export class Sessions {
  private readonly byDevice = new Map<DeviceId, DeviceConnection>();
  private readonly tell: (presence: Presence) => void;

  constructor(tell: (presence: Presence) => void) {
    this.tell = tell;
  }

  /**
   * Gives the device's seat to `connection` and resolves when whoever held it is gone (MQTT 3.1.1, 3.1.4-2).
   * False when another connection of the same device is just being made: that one is not yet to be disturbed.
   */
  async take(connection: DeviceConnection, identity: { device: DeviceId; serial: Serial }): Promise<boolean> {
    const occupant = this.byDevice.get(identity.device);
    if (occupant !== undefined && !occupant.ready && !occupant.socket.destroyed) return false;
    if (occupant !== undefined) {
      connection.heir = occupant.ready || occupant.heir;
      this.vacate(occupant, 'taken-over');
    }
    connection.identity = identity;
    this.byDevice.set(identity.device, connection);
    if (occupant !== undefined) await new Promise<void>((resolve) => endClient(occupant, resolve));
    return true;
  }

  /** The connection is complete: the device is there. */
  announce(connection: DeviceConnection): void {
    const { identity } = connection;
    if (identity === undefined || connection.ready || this.byDevice.get(identity.device) !== connection) return;
    connection.ready = true;
    this.tell({ kind: 'connected', device: identity.device, serial: identity.serial, address: connection.address });
  }

  /** The connection is gone, or is about to be; a connection that was replaced is not reported again. */
  vacate(connection: DeviceConnection, reason: LeaveReason): void {
    const device = connection.identity?.device;
    if (device === undefined || this.byDevice.get(device) !== connection) return;
    this.byDevice.delete(device);
    if (connection.ready || connection.heir) this.tell({ kind: 'disconnected', device, reason });
  }

  /** The connection of a device that is there. */
  of(device: DeviceId): DeviceConnection | undefined {
    const connection = this.byDevice.get(device);
    return connection?.ready === true ? connection : undefined;
  }

  *devices(): Iterable<DeviceId> {
    for (const [device, connection] of this.byDevice) if (connection.ready) yield device;
  }

  get count(): number {
    let count = 0;
    for (const connection of this.byDevice.values()) if (connection.ready) count += 1;
    return count;
  }
}

/** Ends a connection at once and calls back when its subscriptions are gone. */
export function endClient(connection: DeviceConnection, done: () => void): void {
  connection.socket.destroy();
  if (connection.client === undefined) done();
  else connection.client.close(done);
}
