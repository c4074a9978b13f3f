/** Looks at the open rollouts whenever something moved, and now and then, and takes every step that follows. */
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { advancesByItself, decideProgress } from './decide.ts';

export interface RolloutDriverPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Key versions changed state: devices are due. */
  readonly onDue: () => void;
  readonly onAdvance?: (rollout: RolloutRecord['id'], state: RolloutRecord['state']) => void;
}

const IDLE_MS = 2_000;
/** Many reports move many targets; the counts are looked at this often at the most. */
const SETTLE_MS = 100;
/** Counting targets takes longer the more there are: between two looks lies so many times what the last one took. */
const SETTLE_FACTOR = 8;
const OPEN_LIMIT = 1_000;

export function createRolloutDriver(ports: RolloutDriverPorts): Worker {
  const { store, clock, log } = ports;

  const step = async (rollout: RolloutRecord): Promise<void> => {
    for (;;) {
      const outcome = await store.advanceRollout(rollout.id, clock.now(), (current, keySet, progress) =>
        current === undefined || keySet === undefined ? { kind: 'stay' } : decideProgress(current, keySet, progress),
      );
      if (outcome.kind !== 'advance') return;
      log.info(
        { rollout: rollout.id, keySet: rollout.keySet, version: rollout.toVersion, state: outcome.state },
        `rollout ${outcome.state}`,
      );
      ports.onAdvance?.(rollout.id, outcome.state);
      if (outcome.versions.length > 0) ports.onDue();
    }
  };

  let lookedMs = 0;
  const worker: Worker = createWorker(
    clock,
    async () => {
      await new Promise<void>((resolve) => clock.after(Math.max(SETTLE_MS, lookedMs * SETTLE_FACTOR), resolve));
      const begun = clock.monotonic();
      for (const rollout of await store.rollouts(true, OPEN_LIMIT)) {
        if (advancesByItself(rollout.state)) await step(rollout);
      }
      lookedMs = clock.monotonic() - begun;
      worker.ringAt(new Date(clock.now().getTime() + IDLE_MS));
    },
    (error) => {
      log.error({ code: errorCode(error) }, `rollouts not looked at: ${errorMessage(error)}`);
      worker.ringAt(new Date(clock.now().getTime() + IDLE_MS));
    },
  );
  return worker;
}
