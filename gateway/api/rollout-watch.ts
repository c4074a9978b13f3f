/** Rollouts that somebody watches: each is read once for all its watchers, and told when it has changed. */
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { RolloutId } from '#schema/ids.ts';
import type { RolloutView } from '#schema/api/views.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { RolloutStore } from '#gateway/ports/store/rollouts.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import type { EventFeed } from './events.ts';
import { readRollout } from './read-rollout.ts';

export type RolloutWatcher = (view: RolloutView) => void;

export interface RolloutWatch {
  /** Errors: `rollout.not-found`, `store.unavailable`. */
  requireRollout(id: RolloutId): Promise<void>;
  /**
   * Calls back with the rollout as it is now, and whenever it has changed. When it cannot be read now, that happens as
   * soon as it can.
   */
  watch(id: RolloutId, watcher: RolloutWatcher): () => void;
  close(): Promise<void>;
}

export interface RolloutWatchPorts {
  readonly store: Pick<RolloutStore, 'rollout' | 'rolloutTargets'>;
  readonly feed: EventFeed;
  readonly clock: Clock;
  readonly log: Log;
  /** How often a rollout is looked at without an event about it. */
  readonly everyMs: number;
}

interface Watched {
  readonly watchers: Set<RolloutWatcher>;
  /** JSON of the view told last. */
  told: string;
}

export function createRolloutWatch({ store, feed, clock, log, everyMs }: RolloutWatchPorts): RolloutWatch {
  const watched = new Map<RolloutId, Watched>();

  const look = async (id: RolloutId, entry: Watched): Promise<void> => {
    const view = await readRollout(store, id, clock.now());
    if (view === undefined) return;
    const text = JSON.stringify(view);
    if (text === entry.told) return;
    entry.told = text;
    for (const watcher of entry.watchers) watcher(view);
  };

  const lookAgain = (): void => {
    if (watched.size > 0) worker.ringAt(new Date(clock.now().getTime() + everyMs));
  };
  const worker: Worker = createWorker(
    clock,
    async () => {
      for (const [id, entry] of watched) await look(id, entry);
      lookAgain();
    },
    (error) => {
      log.warn({ code: errorCode(error) }, `watched rollouts not read: ${errorMessage(error)}`);
      lookAgain();
    },
  );
  const unsubscribe = feed.subscribe(({ event }) => {
    if (event.type === 'rollout' && watched.has(event.rollout)) worker.ring();
  });

  return {
    requireRollout: async (id) => {
      if ((await store.rollout(id)) !== undefined) return;
      throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
    },
    watch: (id, watcher) => {
      const entry = watched.get(id) ?? { watchers: new Set(), told: '' };
      watched.set(id, entry);
      entry.watchers.add(watcher);
      // Told anew to all, so that the newcomer sees it too.
      entry.told = '';
      worker.ring();
      return () => {
        entry.watchers.delete(watcher);
        if (entry.watchers.size === 0 && watched.get(id) === entry) watched.delete(id);
      };
    },
    close: () => {
      unsubscribe();
      watched.clear();
      return worker.stop();
    },
  };
}
