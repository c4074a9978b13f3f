/**
 * A bounded pool of PKCS#11 sessions. One operation per session at a time; what waits is served in order, from a
 * bounded queue, against a deadline. A session whose operation put it in doubt, or outlived its deadline, is never
 * used again; until such a call returns, it keeps its place, so that a hung HSM can hold at most `size` threads.
 */
import { CroupierError } from '#schema/errors.ts';

export interface SessionPoolOptions<S> {
  readonly size: number;
  /** How many operations may wait for a session. */
  readonly queueLimit: number;
  readonly open: () => Promise<S>;
  /** Closes a session that no operation uses. Must not throw. */
  readonly close: (session: S) => void;
  /** Whether a session still belongs to the current initialisation of the module. */
  readonly usable: (session: S) => boolean;
  /** Whether an operation's error puts its session in doubt. */
  readonly spoils: (error: unknown) => boolean;
}

export interface SessionPool<S> {
  /**
   * Runs an operation on a session that nothing else uses meanwhile. Errors: `hsm.unavailable` when the queue is full
   * or the deadline passes (an operation that had begun may still take effect), and whatever the operation throws.
   */
  run<T>(operation: (session: S) => T | Promise<T>, timeoutMs: number): Promise<T>;
  /** Takes every present session out of use: idle ones are closed now, busy ones when their operation ends. */
  evictAll(): void;
  /** Refuses everything that waits for a session. */
  rejectWaiting(error: Error): void;
  /** Starts nothing more and waits until nothing runs. False if something still runs at the deadline. */
  quiesce(timeoutMs: number): Promise<boolean>;
  resume(): void;
  /** Sessions that exist, idle or busy. */
  readonly sessions: number;
  readonly waiting: number;
}

interface Place<S> {
  readonly session: S;
  readonly epoch: number;
}

interface Job<S> {
  readonly start: (place: Place<S>) => void;
  readonly refuse: (error: unknown) => void;
}

const RETRY_AFTER_SECONDS = 2;

/** True for a refusal that says the pool is overloaded, not that the HSM is away. */
export function isOverload(error: unknown): boolean {
  return error instanceof CroupierError && error.detail['overload'] === true;
}

function overload(message: string): CroupierError {
  return new CroupierError('hsm.unavailable', message, { retryAfter: RETRY_AFTER_SECONDS, detail: { overload: true } });
}

export function createSessionPool<S>(options: SessionPoolOptions<S>): SessionPool<S> {
  const { size, queueLimit, open, close, usable, spoils } = options;
  const idle: Place<S>[] = [];
  const queue: Job<S>[] = [];
  let drainListeners: (() => void)[] = [];
  let epoch = 0;
  let places = 0;
  let opening = 0;
  /** Operations that run, sessions that are being opened, and calls that outlived their deadline. */
  let busy = 0;
  let paused = false;
  let pumping = false;

  function discard(place: Place<S>): void {
    places -= 1;
    close(place.session);
  }

  function takeIdle(): Place<S> | undefined {
    for (let place = idle.pop(); place !== undefined; place = idle.pop()) {
      if (usable(place.session)) return place;
      discard(place);
    }
    return undefined;
  }

  function ended(): void {
    busy -= 1;
    if (busy === 0) {
      const listeners = drainListeners;
      drainListeners = [];
      for (const listener of listeners) listener();
    }
    pump();
  }

  function giveBack(place: Place<S>, spoiled: boolean): void {
    if (spoiled || place.epoch !== epoch || !usable(place.session)) discard(place);
    else idle.push(place);
    ended();
  }

  async function openPlace(): Promise<void> {
    places += 1;
    opening += 1;
    busy += 1;
    const startedIn = epoch;
    let session: S;
    try {
      session = await open();
    } catch (error) {
      opening -= 1;
      places -= 1;
      queue.shift()?.refuse(error);
      ended();
      return;
    }
    opening -= 1;
    giveBack({ session, epoch: startedIn }, false);
  }

  function pump(): void {
    // An operation that ends at once comes back here: the loop below, not recursion, serves the next one.
    if (paused || pumping) return;
    pumping = true;
    while (queue.length > 0) {
      const place = takeIdle();
      if (place === undefined) {
        while (places < size && opening < queue.length) void openPlace();
        break;
      }
      queue.shift()?.start(place);
    }
    pumping = false;
  }

  return {
    run<T>(operation: (session: S) => T | Promise<T>, timeoutMs: number): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        let late = false;
        let running = false;
        const timer = setTimeout(() => {
          late = true;
          if (running) {
            reject(
              new CroupierError('hsm.unavailable', `the HSM did not answer within ${timeoutMs} ms`, {
                retryAfter: RETRY_AFTER_SECONDS,
              }),
            );
            return;
          }
          const position = queue.indexOf(job);
          if (position >= 0) queue.splice(position, 1);
          reject(overload(`no HSM session became free within ${timeoutMs} ms`));
        }, timeoutMs);
        const job: Job<S> = {
          start(place) {
            running = true;
            busy += 1;
            const succeed = (value: T): void => {
              clearTimeout(timer);
              giveBack(place, late);
              resolve(value);
            };
            const fail = (error: unknown): void => {
              clearTimeout(timer);
              giveBack(place, late || spoils(error));
              reject(error);
            };
            try {
              const result = operation(place.session);
              if (result instanceof Promise) result.then(succeed, fail);
              else succeed(result);
            } catch (error) {
              fail(error);
            }
          },
          refuse(error) {
            clearTimeout(timer);
            reject(error);
          },
        };
        const place = paused || queue.length > 0 ? undefined : takeIdle();
        if (place !== undefined) {
          job.start(place);
        } else if (queue.length >= queueLimit) {
          job.refuse(overload(`${queueLimit} operations wait for an HSM session already`));
        } else {
          queue.push(job);
          pump();
        }
      });
    },
    evictAll(): void {
      epoch += 1;
      for (const place of idle.splice(0)) discard(place);
    },
    rejectWaiting(error: Error): void {
      for (const job of queue.splice(0)) job.refuse(error);
    },
    async quiesce(timeoutMs: number): Promise<boolean> {
      paused = true;
      if (busy === 0) return true;
      return new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), timeoutMs);
        drainListeners.push(() => {
          clearTimeout(timer);
          resolve(true);
        });
      });
    },
    resume(): void {
      paused = false;
      pump();
    },
    get sessions(): number {
      return places;
    },
    get waiting(): number {
      return queue.length;
    },
  };
}
