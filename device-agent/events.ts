/** What an agent tells about itself while it runs, for a daemon's log, a simulator or a test. */
import type { KeySetName, KeyVersionNumber, Seq, Serial, TrustVersion } from '#schema/ids.ts';
import type { ErrorCode } from '#schema/errors.ts';

/** The step of the agent's work that an error belongs to. */
export type AgentActivity = 'enrol' | 'trust' | 'connect' | 'update' | 'report' | 'renew';

export type AgentEvent =
  | { readonly kind: 'enrolled'; readonly serial: Serial }
  /** The gateway has answered 202: an engineer must approve first. */
  | { readonly kind: 'parked'; readonly retryAfterMs: number }
  | { readonly kind: 'connected'; readonly serial: Serial }
  | { readonly kind: 'disconnected'; readonly code: ErrorCode | undefined }
  | { readonly kind: 'trust-advanced'; readonly from: TrustVersion; readonly to: TrustVersion }
  | { readonly kind: 'update-applied'; readonly seq: Seq; readonly deferred: boolean }
  /** The same update again: the last report was sent again, nothing changed. */
  | { readonly kind: 'update-repeated'; readonly seq: Seq }
  | { readonly kind: 'update-refused'; readonly seq: Seq; readonly code: ErrorCode }
  | { readonly kind: 'activated'; readonly keySet: KeySetName; readonly version: KeyVersionNumber }
  /** The report is durable and the broker has acknowledged it. */
  | { readonly kind: 'report-sent'; readonly counter: number; readonly bytes: number; readonly repeated: boolean }
  | { readonly kind: 'clock-trusted'; readonly now: Date }
  /** A next identity is held. */
  | { readonly kind: 'renewed'; readonly serial: Serial }
  /** The next identity was used for the first time and is the current one now. */
  | { readonly kind: 'promoted'; readonly serial: Serial }
  | {
      readonly kind: 'error';
      readonly activity: AgentActivity;
      readonly code: ErrorCode;
      readonly message: string;
      /** When the agent tries again by itself. */
      readonly retryAfterMs?: number;
    };

export type AgentEventListener = (event: AgentEvent) => void;

export type AgentPhase = 'stopped' | 'enrolling' | 'parked' | 'connecting' | 'connected' | 'waiting';

export interface AgentStatus {
  readonly phase: AgentPhase;
  readonly lastSeq: Seq;
  readonly trustVersion: TrustVersion;
  readonly reportCounter: number;
  readonly clock: { readonly now: Date; readonly trusted: boolean };
  readonly identity: { readonly serial: Serial; readonly notAfter: Date; readonly renewAt: Date } | undefined;
  /** The last error that has not been overcome yet. */
  readonly problem:
    | { readonly activity: AgentActivity; readonly code: ErrorCode; readonly message: string }
    | undefined;
}
