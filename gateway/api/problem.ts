/** Any error to problem details (RFC 9457). What is not ours by name says nothing about itself outside the log. */
import type { FastifyError } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from '@fastify/type-provider-zod';
import { CroupierError, ERROR_CATALOGUE } from '#schema/errors.ts';
import type { Problem } from '#schema/api/problem.ts';
import { apiStatus, DEFAULT_RETRY_AFTER } from './status.ts';

/** Fastify's own refusals, which are all about what the client sent. */
const FASTIFY_ERRORS: Readonly<Record<string, (message: string) => CroupierError>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new CroupierError('input.too-large', 'the body exceeds the limit of this route'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => new CroupierError('input.invalid', 'the body must be application/json'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new CroupierError('input.invalid', 'the body is not as long as Content-Length says'),
  FST_ERR_CTP_EMPTY_JSON_BODY: () =>
    new CroupierError('json.malformed', 'the body is empty; leave Content-Type out, or send a JSON object'),
  FST_ERR_CTP_INVALID_JSON_BODY: () => new CroupierError('json.malformed', 'the body is not JSON'),
  FST_ERR_BAD_URL: () => new CroupierError('input.invalid', 'the path is not a valid URL path'),
};

const MOST_FAULTS = 5;

function ofValidation(error: FastifyError): CroupierError {
  const where = error.validationContext === 'querystring' ? 'query' : (error.validationContext ?? 'request');
  const faults = (error.validation ?? []).slice(0, MOST_FAULTS).map(({ instancePath, message }) => {
    const field = instancePath
      .split('/')
      .filter((part) => part !== '')
      .join('.');
    return `${field === '' ? where : `${where} ${field}`}: ${message ?? 'not allowed'}`;
  });
  return new CroupierError('input.invalid', faults.join('; '));
}

/** The error by its name; `internal.unexpected`, with the original as cause, for what has none. */
export function nameError(error: unknown): CroupierError {
  if (error instanceof CroupierError) return error;
  if (error instanceof Error) {
    if (hasZodFastifySchemaValidationErrors(error)) return ofValidation(error);
    // JSON.parse and the check for poisoned prototypes throw this; its text quotes the body.
    if (error instanceof SyntaxError) return new CroupierError('json.malformed', 'the body is not JSON');
    const named = FASTIFY_ERRORS[String(Reflect.get(error, 'code'))];
    if (named !== undefined) return named(error.message);
  }
  return new CroupierError('internal.unexpected', undefined, { cause: error });
}

export function problemOf(error: CroupierError): Problem {
  const status = apiStatus(error.code);
  const retryAfter = error.retryAfter ?? (status === 503 ? DEFAULT_RETRY_AFTER : undefined);
  const { summary, remedy } = ERROR_CATALOGUE[error.code];
  return {
    type: `urn:croupier:error:${error.code}`,
    title: summary,
    status,
    detail: error.message,
    code: error.code,
    remedy,
    ...(retryAfter === undefined ? {} : { retryAfter: Math.ceil(retryAfter) }),
  };
}
