/** Errors on the socket: problem documents (RFC 9457) that carry the code of the catalogue. */
import { CroupierError, ERROR_CATALOGUE, type ErrorCode } from '#schema/errors.ts';

export interface ProblemDocument {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly remedy: string;
}

export const PROBLEM_TYPE = 'application/problem+json';

const STATUS: Partial<Record<ErrorCode, number>> = {
  'json.malformed': 400,
  'input.invalid': 400,
  'input.too-large': 413,
  'keyset.not-found': 404,
  'keyset.version-not-found': 404,
  'keyset.state-refused': 409,
  'agent.not-enrolled': 503,
  'store.unavailable': 503,
};

/** A request that names nothing of this interface; the status says which way. */
export class RequestRefused extends CroupierError {
  readonly status: number;

  constructor(status: number, message: string) {
    super('input.invalid', message);
    this.status = status;
  }
}

/** What the asker is told. Errors that are not ours say nothing of their inside; those go to the log. */
export function problemDocument(error: unknown): ProblemDocument {
  const known = error instanceof CroupierError ? error : new CroupierError('internal.unexpected');
  const status = known instanceof RequestRefused ? known.status : (STATUS[known.code] ?? 500);
  return {
    title: ERROR_CATALOGUE[known.code].summary,
    status,
    detail: known.message,
    code: known.code,
    remedy: known.remedy,
  };
}
