/**
 * Updates that were sent and that no report has answered yet. While there are many, no further ones are sent: otherwise a
 * whole floor is asked at once, its answers queue for longer than an update waits to be repeated, and are asked for again.
 */
import type { DeviceId } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';

/** What a gateway on two cores answers within some seconds. */
const LIMIT = 1_000;
/** A device that is silent for longer takes nobody's place. */
const PATIENCE_MS = 5_000;

export class InFlight {
  /** When each device was sent its latest update, oldest first, by the monotonic clock. */
  private readonly sentAt = new Map<DeviceId, number>();
  private readonly clock: Pick<Clock, 'monotonic'>;
  private readonly limit: number;
  private readonly patienceMs: number;

  constructor(clock: Pick<Clock, 'monotonic'>, limit = LIMIT, patienceMs = PATIENCE_MS) {
    this.clock = clock;
    this.limit = limit;
    this.patienceMs = patienceMs;
  }

  sent(device: DeviceId): void {
    this.sentAt.delete(device);
    this.sentAt.set(device, this.clock.monotonic());
  }

  /** The device has reported, whatever it said. */
  answered(device: DeviceId): void {
    this.sentAt.delete(device);
  }

  /** Whether further updates may be sent. */
  hasRoom(): boolean {
    const silentSince = this.clock.monotonic() - this.patienceMs;
    for (const [device, at] of this.sentAt) {
      if (at > silentSince) break;
      this.sentAt.delete(device);
    }
    return this.sentAt.size < this.limit;
  }
}
