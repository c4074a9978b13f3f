/** Looks at the open rollouts whenever something moved, and now and then, and takes every step that follows. */
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import type { RolloutRecord, TargetTally } from '#gateway/ports/store/records.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { decideProgress } from './decide.ts';
import { restsOnAbsence } from './gates.ts';
import { prepareRollout } from './prepare.ts';
import { progressOf } from './progress.ts';
import { askedStates, decideVanished, isLate, judgesAbsence } from './unanswered.ts';

export interface RolloutDriverPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Devices are due. */
  readonly onDue: () => void;
  /** Whether devices that were there when the gateway before this one ended are still coming back. */
  readonly isReturning?: () => boolean;
  readonly onAdvance?: (rollout: RolloutRecord) => void;
}

/** Counts are a few rows, so that looking is cheap; another process may have changed something. */
const IDLE_MS = 500;
/** Many reports move many targets; the counts are looked at this often at the most. */
const SETTLE_MS = 100;
const OPEN_LIMIT = 1_000;
/** Targets given up at one look; the others follow at the next ones. */
const GIVEN_UP_AT_ONCE = 500;

/** Where a rollout is, in one word for logs. */
const whereIs = ({ state, pause }: RolloutRecord): string => (pause === undefined ? state : `paused (${state})`);

/**
 * What was decided, unless it rests on targets that are not there while a floor is about to come back: `sinceMs` after its
 * start a gateway knows who is. As long as the plan gives a silent device, an absent one is waited for. Too many errors are
 * no matter of absence.
 */
export function onceReturned(
  rollout: RolloutRecord,
  tallies: readonly TargetTally[],
  decided: RolloutOutcome,
  sinceMs: number,
  now: Date,
): RolloutOutcome {
  const leftMs = rollout.plan.timeoutMs - sinceMs;
  if (decided.kind !== 'advance' || leftMs <= 0 || decided.rollout.pause?.code === 'rollout.errors-exceeded')
    return decided;
  return restsOnAbsence(rollout, progressOf(rollout, tallies))
    ? { kind: 'stay', until: new Date(now.getTime() + leftMs) }
    : decided;
}

export function createRolloutDriver(ports: RolloutDriverPorts): Worker {
  const { store, clock, log } = ports;
  const startedAt = clock.monotonic();

  const tell = (rollout: RolloutRecord): void => {
    const { id: rolloutId, kind, pause } = rollout;
    const fields = { rollout: rolloutId, kind, state: rollout.state, wave: rollout.plan.waves[rollout.wave]?.name };
    if (pause === undefined) log.info(fields, `rollout ${whereIs(rollout)}`);
    else log.warn({ ...fields, code: pause.code }, `rollout paused: ${pause.reason}`);
    ports.onAdvance?.(rollout);
  };

  /** Gives up targets that left after they were asked. Who has been there since the gateway's start, it must know first. */
  const giveUpVanished = async (rollout: RolloutRecord): Promise<void> => {
    const { id, kind, plan } = rollout;
    if (!judgesAbsence(rollout) || clock.monotonic() - startedAt < plan.timeoutMs) return;
    const filter = { states: askedStates(kind), online: false, limit: GIVEN_UP_AT_ONCE };
    const now = clock.now();
    const late = (await store.rolloutTargets(id, filter)).filter((target) => isLate(rollout, target, now));
    if (late.length === 0) return;
    const devices = late.map(({ device }) => device);
    await store.changeTargets(id, now, { devices }, (current, targets) => decideVanished(current, targets, now));
  };

  /** Takes all steps of one rollout; returns when it is worth another look. */
  const step = async (rollout: RolloutRecord): Promise<Date | undefined> => {
    if (rollout.preparedAt === undefined) {
      const prepared = await prepareRollout(store, clock, rollout);
      if (prepared.kind === 'advance' && prepared.due !== 'none') ports.onDue();
    }
    await giveUpVanished(rollout);
    for (;;) {
      const now = clock.now();
      const isReturning = ports.isReturning?.() === true;
      const sinceMs = isReturning ? clock.monotonic() - startedAt : Infinity;
      const outcome = await store.advanceRollout(rollout.id, now, (current, keySet, tallies) =>
        current === undefined
          ? { kind: 'stay', until: undefined }
          : onceReturned(current, tallies, decideProgress(current, keySet, tallies, now), sinceMs, now),
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
