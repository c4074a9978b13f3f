/** Waiting for a floor to become what the gateway wants it to be. */
import type { Floor } from '../floor/floor.ts';
import type { OperatorClient } from '../operator/client.ts';
import type { Step } from '../output/steps.ts';
import { goalOf, isSameExpectation, readExpectation, type Expectation } from './expectation.ts';

/** Without any news from any device for so long, waiting is over. */
export const PATIENCE_MS = 60_000;

export interface Converged {
  readonly expectation: Expectation;
  readonly atGoal: number;
}

/**
 * Waits until `wanted` devices hold what the gateway wants, and it still wants the same. What a floor does not reach
 * shows in the numbers. `signal` ends the waiting.
 */
export async function converge(
  floor: Floor,
  client: OperatorClient,
  wanted: number,
  step: Step,
  signal: AbortSignal,
): Promise<Converged> {
  const { observer } = floor;
  let expectation = await readExpectation(client);
  for (;;) {
    observer.setGoal(goalOf(expectation));
    const isReached = await watchGoal(floor, wanted, step, signal);
    const next = await readExpectation(client);
    const isSettled = isSameExpectation(expectation, next) && next.underWay.length === 0;
    if (!isReached || isSettled || signal.aborted) return { expectation: next, atGoal: observer.counts().atGoal };
    if (isSameExpectation(expectation, next)) await observer.until(() => false, SETTLE_MS, signal);
    expectation = next;
  }
}

/** A rollout that a former run began finishes by itself; it is looked at again after this. */
const SETTLE_MS = 500;

/** Waits for the goal as it is set, showing how far it is. */
export async function watchGoal(floor: Floor, wanted: number, step: Step, signal: AbortSignal): Promise<boolean> {
  const { observer } = floor;
  const stop = observer.onChange(() => {
    const { atGoal, phases } = observer.counts();
    step.progress(atGoal, `${phases.connected} connected`);
  });
  try {
    return await observer.until(() => observer.counts().atGoal >= wanted, PATIENCE_MS, signal);
  } finally {
    stop();
    step.progress(observer.counts().atGoal);
  }
}
