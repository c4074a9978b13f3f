/** The gateway of a run as every scenario sees it, whoever started it. */
import type { GatewayAddresses } from '../floor/floor.ts';
import type { Installation } from '../operator/installation.ts';
import type { Operators } from '../operator/operators.ts';
import type { LogErrors } from '../process/log-errors.ts';

export interface GatewayAtHand {
  /** Its data directory. */
  readonly directory: string;
  readonly installation: Installation;
  readonly addresses: GatewayAddresses;
  /** Errors: `network.unreachable` while it does not run. */
  readonly operators: Operators;
  /** Rejects when it ends without having been told to; never resolves. */
  readonly died: Promise<never>;
  /** Errors that it has logged unexpectedly; of a gateway that somebody else started only those since this run began. */
  logErrors(isExpected: (message: string) => boolean): Promise<LogErrors>;
}
