/** Who is asking, and whether the role may. Every refusal is audited; how many one address can cause is limited. */
import { CroupierError } from '#schema/errors.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { Action } from '#schema/operators.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { actorOf } from '#gateway/operators/approval.ts';
import { decidePermission } from '#gateway/operators/matrix.ts';
import { authenticate } from '#gateway/operators/operator-command.ts';
import type { OperatorRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { createFailureLimit } from '../est/failure-limit.ts';
import type { RateLimit } from '../broker/rate-limit.ts';
import { createRequestLimit } from './request-limit.ts';

export interface AccessOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly requests: RateLimit;
  /** Wrong or missing tokens from one address in a minute. */
  readonly failuresPerMinute: number;
}

export interface Access {
  /** Errors: `operator.rate-limited`. */
  throttle(address: string): void;
  /** Errors: `operator.rate-limited`, `operator.unauthenticated`. */
  login(address: string, authorization: string | undefined): Promise<OperatorRecord>;
  /** Errors: `operator.forbidden`. */
  permit(address: string, operator: OperatorRecord, action: Action): Promise<void>;
}

/** RFC 6750, 2.1; the scheme is case-insensitive (RFC 9110, 11.1). No token of ours is longer. */
const BEARER = /^bearer ([A-Za-z0-9._~+/-]{1,256}=*)$/i;

export function bearerToken(authorization: string | undefined): string | undefined {
  return authorization === undefined ? undefined : BEARER.exec(authorization)?.[1];
}

export function createAccess({ store, clock, requests, failuresPerMinute }: AccessOptions): Access {
  const requestLimit = createRequestLimit(requests);
  const failures = createFailureLimit(failuresPerMinute);
  const record = (event: AuditEvent): Promise<void> => store.appendAudit([event], clock.now());

  return {
    throttle(address) {
      if (requestLimit.take(address, clock.monotonic())) return;
      throw new CroupierError('operator.rate-limited', 'too many requests from this address', { retryAfter: 1 });
    },

    async login(address, authorization) {
      const now = clock.monotonic();
      const wait = failures.wait(address, now);
      if (wait !== undefined) {
        throw new CroupierError('operator.rate-limited', 'too many requests without a valid token from this address', {
          retryAfter: wait,
        });
      }
      try {
        return await authenticate(store, bearerToken(authorization));
      } catch (error) {
        if (!(error instanceof CroupierError) || error.code !== 'operator.unauthenticated') throw error;
        failures.failed(address, now);
        const actor = { type: 'anonymous', id: address } as const;
        await record({ action: 'operator.login', outcome: 'denied', code: error.code, actor, source: address });
        throw error;
      }
    },

    async permit(address, operator, action) {
      try {
        decidePermission(operator.role, action);
      } catch (error) {
        if (!(error instanceof CroupierError)) throw error;
        await record({ action, outcome: 'denied', code: error.code, actor: actorOf(operator), source: address });
        throw error;
      }
    },
  };
}
