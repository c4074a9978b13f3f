/** Looks at the open rollouts whenever something moved, and now and then, and takes every step that follows. */
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { decideProgress } from './decide.ts';
import { prepareRollout } from './prepare.ts';

export interface RolloutDriverPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Devices are due. */
  readonly onDue: () => void;
  readonly onAdvance?: (rollout: RolloutRecord) => void;
}

/** Counts are a few rows, so that looking is cheap; another process may have changed something. */
const IDLE_MS = 500;
/** Many reports move many targets; the counts are looked at this often at the most. */
const SETTLE_MS = 100;
const OPEN_LIMIT = 1_000;

/** Where a rollout is, in one word for logs. */
const whereIs = ({ state, pause }: RolloutRecord): string => (pause === undefined ? state : `paused (${state})`);

export function createRolloutDriver(ports: RolloutDriverPorts): Worker {
  const { store, clock, log } = ports;

  const tell = (rollout: RolloutRecord): void => {
    const { id: rolloutId, kind, pause } = rollout;
    const fields = { rollout: rolloutId, kind, state: rollout.state, wave: rollout.plan.waves[rollout.wave]?.name };
    if (pause === undefined) log.info(fields, `rollout ${whereIs(rollout)}`);
    else log.warn({ ...fields, code: pause.code }, `rollout paused: ${pause.reason}`);
    ports.onAdvance?.(rollout);
  };

  /** Takes all steps of one rollout; returns when it is worth another look. */
  const step = async (rollout: RolloutRecord): Promise<Date | undefined> => {
    if (rollout.preparedAt === undefined) {
      const prepared = await prepareRollout(store, clock, rollout);
      if (prepared.kind === 'advance' && prepared.due !== 'none') ports.onDue();
    }
    for (;;) {
      const now = clock.now();
      const outcome = await store.advanceRollout(rollout.id, now, (current, keySet, tallies) =>
        current === undefined ? { kind: 'stay', until: undefined } : decideProgress(current, keySet, tallies, now),
      );
      if (outcome.kind !== 'advance') return outcome.kind === 'stay' ? outcome.until : undefined;
      tell(outcome.rollout);
      if (outcome.due !== 'none') ports.onDue();
    }
  };

  const worker: Worker = createWorker(
    clock,
    async () => {
      await new Promise<void>((resolve) => clock.after(SETTLE_MS, resolve));
      for (const rollout of await store.rollouts(true, OPEN_LIMIT)) {
        try {
          const until = await step(rollout);
          if (until !== undefined) worker.ringAt(until);
        } catch (error) {
          log.error(
            { rollout: rollout.id, code: errorCode(error) },
            `rollout not looked at: ${errorMessage(error)}; the others go on`,
          );
        }
      }
      worker.ringAt(new Date(clock.now().getTime() + IDLE_MS));
    },
    (error) => {
      log.error({ code: errorCode(error) }, `rollouts not looked at: ${errorMessage(error)}`);
      worker.ringAt(new Date(clock.now().getTime() + IDLE_MS));
    },
  );
  return worker;
}
