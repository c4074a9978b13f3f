/** Errors of the public listener: problem documents (RFC 9457) that carry the code of the catalogue. */
import { CroupierError, ERROR_CATALOGUE, type ErrorCode } from '#schema/errors.ts';

export interface ProblemDocument {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly remedy: string;
}

/** A request that this listener cannot serve by its form. */
export class RequestRefused extends CroupierError {
  readonly status: 404 | 405;

  constructor(status: 404 | 405, message: string, code: ErrorCode = 'input.invalid') {
    super(code, message);
    this.status = status;
  }
}

const AWAY: ReadonlySet<ErrorCode> = new Set(['hsm.unavailable', 'store.unavailable', 'audit.unavailable']);

/** What anybody may be told: faults on our side are named in general terms, and nothing of what is not ours. */
export function problemOf(error: unknown): ProblemDocument {
  const known = error instanceof CroupierError ? error : new CroupierError('internal.unexpected');
  const { summary: title, remedy } = ERROR_CATALOGUE[known.code];
  const { code } = known;
  if (known instanceof RequestRefused) return { title, status: known.status, detail: known.message, code, remedy };
  return { title, status: AWAY.has(code) ? 503 : 500, detail: title, code, remedy };
}
