/** Who is connected, kept in the store in batches, since no truth lives only in a process's memory. */
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Presence } from '#gateway/ports/broker.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { PresenceChange } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';

const PAGE = 1_000;
/** Changes of one transaction: when a whole floor loses its power, reports and requests still get their turn. */
const AT_ONCE = 500;

/** Devices that the store has as connected, page by page. Errors: `store.unavailable`. */
export async function* connectedPages(store: Pick<Store, 'devices'>): AsyncGenerator<readonly DeviceId[]> {
  let after: DeviceId | undefined;
  for (;;) {
    const page = await store.devices({ connected: true, after, limit: PAGE });
    yield page.map(({ device }) => device.id);
    after = page.at(-1)?.device.id;
    if (page.length < PAGE) return;
  }
}

export interface PresenceKeeper {
  readonly note: (presence: Presence) => void;
  stop(): Promise<void>;
}

/** `onChange` is called after each batch: a device that left may be the last one a rollout waited for. */
export function createPresenceKeeper(
  store: Pick<Store, 'setPresence'>,
  clock: Clock,
  log: Log,
  onChange: () => void,
): PresenceKeeper {
  let pending: PresenceChange[] = [];
  const worker: Worker = createWorker(
    clock,
    async () => {
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = pending.slice(0, AT_ONCE);
      pending = pending.slice(AT_ONCE);
      if (batch.length === 0) return;
      try {
        await store.setPresence(batch);
      } catch (error) {
        pending = [...batch, ...pending];
        worker.ringAt(new Date(clock.now().getTime() + 1_000));
        throw error;
      }
      onChange();
      if (pending.length > 0) worker.ring();
    },
    (error) => log.error({ code: errorCode(error) }, `presence not recorded: ${errorMessage(error)}`),
  );
  return {
    note: (presence) => {
      // A connection that was taken over by the same device leaves it connected.
      if (presence.kind === 'disconnected' && presence.reason === 'taken-over') return;
      const address = presence.kind === 'connected' ? presence.address : undefined;
      pending.push({ device: presence.device, connected: presence.kind === 'connected', address, at: clock.now() });
      worker.ring();
    },
    stop: () => worker.stop(),
  };
}
