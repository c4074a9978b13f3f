/**
 * Long computations over a whole floor, in pieces: a generator that yields now and then. What it computes stays pure; who
 * runs it says whether anything else gets a turn in between.
 */

/** Yields whenever it may be interrupted; the pieces between are well below a millisecond. */
export type Work<Result> = Generator<undefined, Result, undefined>;

/** Items between two yields. */
const PIECE = 256;
/** So long at a time: reports and handshakes wait no longer for their turn. */
const TURN_MS = 5;

/** Calls `job` for each item, interruptibly. */
export function* forEachInWork<Item>(items: readonly Item[], job: (item: Item, index: number) => void): Work<void> {
  for (const [index, item] of items.entries()) {
    job(item, index);
    if (index % PIECE === PIECE - 1) yield undefined;
  }
}

/** Does it all at once. */
export function finish<Result>(work: Work<Result>): Result {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** Does it in turns of some milliseconds, between which the event loop does other things. */
export async function inTurns<Result>(work: Work<Result>): Promise<Result> {
  for (;;) {
    const end = performance.now() + TURN_MS;
    do {
      const step = work.next();
      if (step.done === true) return step.value;
    } while (performance.now() < end);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
