/** A bell that wakes one worker: rings during a run lead to one more run, never to two at a time. */
import type { Clock } from '#schema/runtime/clock.ts';

export interface Worker {
  /** There is something to do now. */
  ring(): void;
  /** There will be something to do then, unless it rings earlier. */
  ringAt(at: Date): void;
  /** Waits for the run under way and takes no more rings. */
  stop(): Promise<void>;
}

export function createWorker(clock: Clock, run: () => Promise<void>, onError: (error: unknown) => void): Worker {
  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
  let cancelAlarm: (() => void) | undefined;
  let alarmAt = Infinity;

  const loop = async (): Promise<void> => {
    do {
      again = false;
      try {
        await run();
      } catch (error) {
        onError(error);
      }
    } while (again && !stopped);
    running = undefined;
  };

  const ring = (): void => {
    if (stopped) return;
    again = true;
    running ??= loop();
  };

  return {
    ring,
    ringAt: (at) => {
      if (stopped || at.getTime() >= alarmAt) return;
      cancelAlarm?.();
      alarmAt = at.getTime();
      cancelAlarm = clock.after(Math.max(1, alarmAt - clock.now().getTime()), () => {
        alarmAt = Infinity;
        cancelAlarm = undefined;
        ring();
      });
    },
    stop: async () => {
      stopped = true;
      cancelAlarm?.();
      await running;
    },
  };
}
