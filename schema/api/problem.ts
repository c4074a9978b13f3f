/** Errors of the operator API: problem details (RFC 9457), `application/problem+json`. */
import { z } from 'zod';

export const PROBLEM_TYPE = 'application/problem+json';

export const Problem = z.object({
  /** `urn:croupier:error:<code>`: a name, not an address. */
  type: z.string(),
  /** What happened in general. */
  title: z.string(),
  status: z.int(),
  /** What happened here. */
  detail: z.string(),
  /** Stable error code (docs/errors.md). */
  code: z.string(),
  /** What to do next. */
  remedy: z.string(),
  /** Seconds after which the same request may succeed. */
  retryAfter: z.int().optional(),
});
export type Problem = z.infer<typeof Problem>;
