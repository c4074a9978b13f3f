/** Scenarios in which authorities are replaced, and the gateway itself is restored, each with a gateway of its own. */
import { describe, test } from 'vitest';
import { holdsAsAWhole, RUN_TIMEOUT_MS } from '#test/support/scenario-run.ts';

describe('given a gateway of its own', () => {
  test.each(['missed-trust', 'new-tls-root', 'message-signer', 'new-issuing-ca', 'gateway-restored'])(
    'when the scenario %s is run, then everything holds, and every invariant was judged device by device',
    holdsAsAWhole,
    RUN_TIMEOUT_MS,
  );
});
