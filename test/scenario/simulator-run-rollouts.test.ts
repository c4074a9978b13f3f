/** Scenarios of rollouts in waves, each with a gateway of its own. */
import { describe, test } from 'vitest';
import { holdsAsAWhole, RUN_TIMEOUT_MS } from '#test/support/scenario-run.ts';

describe('given a gateway of its own', () => {
  test.each(['stragglers', 'bad-wave', 'kill-between-waves'])(
    'when the scenario %s is run, then everything holds, and every invariant was judged device by device',
    holdsAsAWhole,
    RUN_TIMEOUT_MS,
  );
});
