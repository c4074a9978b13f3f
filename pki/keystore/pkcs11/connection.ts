/**
 * The connection to one token: sessions, recovery, and the circuit breaker. `execute` is the only way to the HSM.
 */
import { CroupierError, errorMessage, type ErrorCode } from '#schema/errors.ts';
import type { KeyStoreHealth } from '../port.ts';
import {
  CLOSED,
  afterFailure,
  afterSuccess,
  beginProbe,
  refusal,
  type BreakerPolicy,
  type BreakerState,
} from './circuit-breaker.ts';
import { describeFailure, recoveryFor } from './errors.ts';
import type { Pkcs11Module } from './module.ts';
import { createSessionPool, isOverload } from './session-pool.ts';
import { closeSession, type Session, type Token } from './token.ts';

/** What an operation may rely on: object handles are valid within one epoch only. */
export interface Circumstances {
  readonly epoch: number;
  /** The module has been initialised anew for this attempt: what the token says now is the truth. */
  readonly fresh: boolean;
}

export type Operation<T> = (session: Session, circumstances: Circumstances) => T | Promise<T>;

export interface ConnectionOptions {
  readonly sessions: number;
  readonly queueLimit: number;
  readonly operationTimeoutMs: number;
  readonly breaker: BreakerPolicy;
  readonly now: () => Date;
  readonly onHealthChange: (health: KeyStoreHealth) => void;
}

export interface Connection {
  /**
   * Runs an operation; when sessions, login or module are lost, renews them and runs it again. Errors: those of the
   * operation; `hsm.unavailable` with `retryAfter` when the HSM is away, overloaded or slow.
   */
  execute<T>(operation: Operation<T>, timeoutMs?: number): Promise<T>;
  /** As `execute`, without the breaker: for the first contact, where any failure is the caller's to see. */
  tryOnce<T>(operation: Operation<T>): Promise<T>;
  /** Whether calls are let through. */
  readonly available: boolean;
  health(): KeyStoreHealth;
  close(): Promise<void>;
}

/** `probe` is run to find out whether an HSM that was away is back. */
export function createConnection(
  module: Pkcs11Module,
  token: Token,
  probe: Operation<void>,
  options: ConnectionOptions,
): Connection {
  const { operationTimeoutMs, now } = options;
  const retryAfter = Math.max(1, Math.ceil(options.breaker.initialBackoffMs / 1000));
  let breaker: BreakerState = CLOSED;
  let probeTimer: NodeJS.Timeout | undefined;
  let epoch = 0;
  let operations = 0;
  let closed = false;

  const pool = createSessionPool<Session>({
    size: options.sessions,
    queueLimit: options.queueLimit,
    open: () => token.openSession(),
    close: (session) => closeSession(module, session),
    usable: (session) => session.generation === module.generation,
    spoils: (error) => recoveryFor(error) !== 'none',
  });
  module.attach(pool);

  function dropSessions(seenEpoch: number): void {
    if (epoch !== seenEpoch) return;
    epoch += 1;
    pool.evictAll();
  }

  async function withRecovery<T>(operation: Operation<T>, timeoutMs: number): Promise<T> {
    let renewed: 'none' | 'sessions' | 'module' = 'none';
    for (;;) {
      const seen = { epoch, generation: module.generation };
      const fresh = renewed === 'module';
      if (closed) throw closedError();
      try {
        return await pool.run((session) => operation(session, { epoch, fresh }), timeoutMs);
      } catch (error) {
        const needed = recoveryFor(error);
        if (needed === 'none' || fresh) throw describeFailure(error, token.label, retryAfter);
        if (needed === 'sessions' && renewed === 'none') {
          renewed = 'sessions';
        } else {
          await module.reinitialise(seen.generation, operationTimeoutMs);
          renewed = 'module';
        }
        dropSessions(seen.epoch);
      }
    }
  }

  function health(): KeyStoreHealth {
    if (closed) return { state: 'unavailable', since: now(), reason: 'the key store is closed' };
    return breaker.state === 'closed'
      ? { state: 'ready', sessions: pool.sessions, operations }
      : { state: 'unavailable', since: new Date(breaker.since), reason: breaker.reason };
  }

  function moveTo(next: BreakerState): void {
    const changed = (breaker.state === 'closed') !== (next.state === 'closed');
    breaker = next;
    if (closed) return;
    if (next.state === 'open' && probeTimer === undefined) {
      probeTimer = setTimeout(() => void runProbe(), Math.max(0, next.probeAt - now().getTime()));
      probeTimer.unref();
    }
    if (!changed) return;
    if (next.state !== 'closed') pool.rejectWaiting(refused(next));
    options.onHealthChange(health());
  }

  function refused(state: BreakerState): CroupierError {
    const reason = state.state === 'closed' ? 'it has just come back' : state.reason;
    return new CroupierError('hsm.unavailable', `the HSM is away: ${reason}`, {
      retryAfter: refusal(state, now().getTime()) ?? 1,
    });
  }

  function failed(error: unknown): void {
    moveTo(afterFailure(breaker, errorMessage(error), now().getTime(), options.breaker));
  }

  async function runProbe(): Promise<void> {
    probeTimer = undefined;
    moveTo(beginProbe(breaker));
    try {
      await withRecovery(probe, operationTimeoutMs);
      moveTo(afterSuccess(breaker));
    } catch (error) {
      if (isOutage(error)) failed(error);
      else moveTo(afterSuccess(breaker));
    }
  }

  return {
    tryOnce: (operation) => withRecovery(operation, operationTimeoutMs),
    async execute<T>(operation: Operation<T>, timeoutMs = operationTimeoutMs): Promise<T> {
      if (breaker.state !== 'closed') throw refused(breaker);
      try {
        const result = await withRecovery(operation, timeoutMs);
        operations += 1;
        if (breaker.state === 'closed') breaker = afterSuccess(breaker);
        return result;
      } catch (error) {
        if (!isOutage(error)) throw error;
        if (breaker.state === 'closed') failed(error);
        throw error instanceof CroupierError && error.code === 'hsm.unavailable'
          ? error
          : new CroupierError('hsm.unavailable', `the HSM is away: ${errorMessage(error)}`, {
              cause: error,
              retryAfter,
            });
      }
    },
    get available(): boolean {
      return !closed && breaker.state === 'closed';
    },
    health,
    async close(): Promise<void> {
      if (closed) return;
      closed = true;
      clearTimeout(probeTimer);
      pool.rejectWaiting(closedError());
      const atRest = await pool.quiesce(operationTimeoutMs);
      pool.evictAll();
      module.release(pool, !atRest);
    },
  };
}

function closedError(): CroupierError {
  return new CroupierError('hsm.unavailable', 'the key store is closed');
}

const OUTAGES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'hsm.unavailable',
  'hsm.token-absent',
  'hsm.pin-wrong',
  'config.missing',
]);

/** Whether an error says that the HSM is away, as opposed to an answer of the HSM or too much load. */
function isOutage(error: unknown): boolean {
  return error instanceof CroupierError && OUTAGES.has(error.code) && !isOverload(error);
}
