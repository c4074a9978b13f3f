/** The scenario in which real time has to pass, each with a gateway of its own. */
import { describe, test } from 'vitest';
import { holdsAsAWhole, RUN_TIMEOUT_MS } from '#test/support/scenario-run.ts';

describe('given a gateway of its own', () => {
  test.each(['expired-certificate'])(
    'when the scenario %s is run, then everything holds, and every invariant was judged device by device',
    holdsAsAWhole,
    RUN_TIMEOUT_MS,
  );
});
