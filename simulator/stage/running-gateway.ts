/** The gateway that runs on a data directory already, as `croupier-sim floor` finds it. */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { addressesOf, readInstallation, readRun } from '../operator/installation.ts';
import { openOperators } from '../operator/operators.ts';
import { countLogErrors } from '../process/log-errors.ts';
import type { GatewayAtHand } from './gateway-at-hand.ts';

/** Errors: `config.missing`, `config.invalid`, `network.unreachable` when none runs. */
export async function openRunningGateway(data: string): Promise<GatewayAtHand & AsyncDisposable> {
  const directory = resolve(data);
  const installation = await readInstallation(directory);
  const run = await readRun(directory);
  const operators = await openOperators(installation, run);
  const log = join(directory, 'log', 'gateway.log');
  const from = await stat(log).then(
    ({ size }) => size,
    () => undefined,
  );
  return {
    directory,
    installation,
    addresses: addressesOf(installation, run),
    operators,
    died: new Promise<never>(() => undefined),
    // Where its log goes is the business of whoever started it.
    logErrors: async (isExpected) =>
      from === undefined ? { count: 0, messages: [] } : countLogErrors(log, from, isExpected),
    [Symbol.asyncDispose]: async () => operators.close(),
  };
}
