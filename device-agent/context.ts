/** What the parts of one running agent share. */
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Report } from '#schema/messages/report.ts';
import type { TrustedTime } from './clock/trusted-time.ts';
import type { AgentActivity, AgentEvent } from './events.ts';
import type { Log } from './log.ts';
import type { AgentTiming } from './options.ts';
import type { Deadlines } from './runtime/deadlines.ts';
import type { SerialQueue } from './runtime/serial-queue.ts';
import type { HeldState } from './state/held.ts';
import type { ServerTrust } from './tls/connect.ts';
import type { BusyOracle } from './view.ts';

export type DeadlineName = 'report' | 'refusals' | 'busy' | 'renewal';

export interface AgentContext {
  readonly held: HeldState;
  readonly time: TrustedTime;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly timing: AgentTiming;
  readonly busy: BusyOracle | undefined;
  /** Undefined: what the server asks for. */
  readonly keyAlgorithm: KeyAlgorithm | undefined;
  readonly estLabel: string | undefined;
  /** Fresh at every start. */
  readonly bootId: string;
  readonly agent: Report['agent'];
  /** Everything that commits runs here, one after the other. */
  readonly queue: SerialQueue;
  readonly deadlines: Deadlines<DeadlineName>;
  /** Aborted when the agent stops: ends what waits for the network. */
  readonly signal: AbortSignal;
  readonly emit: (event: AgentEvent) => void;
  readonly fault: (activity: AgentActivity, error: unknown, retryAfterMs?: number) => void;
}

/** The TLS servers to believe: those of the trust bundle, before the first one those under the root of the ticket. */
export function serverTrust({ held, time }: AgentContext): ServerTrust {
  const { root } = held.current;
  return { anchors: held.bundle?.anchors.transport ?? (root === undefined ? [] : [root]), time: time.read() };
}
