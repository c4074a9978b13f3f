/** What `croupier-agent` exits with: the one table from error codes to exit codes. */
import type { ErrorCode } from '#schema/errors.ts';

export const EXIT_OK = 0;
export const EXIT_UNEXPECTED = 1;
export const EXIT_USAGE = 2;

/** By whole code, else by what stands before the first dot. docs/agent.md lists the meanings. */
const EXIT_CODES: Readonly<Record<string, number>> = {
  input: EXIT_USAGE,
  config: 3,
  ticket: 4,
  enrolment: 4,
  'agent.not-enrolled': 4,
  network: 5,
  broker: 5,
  'agent.not-running': 5,
  'agent.state-corrupt': 6,
  store: 6,
  'agent.running': 7,
  trust: 8,
  certificate: 8,
  message: 8,
};

export function exitCodeOf(code: ErrorCode): number {
  return EXIT_CODES[code] ?? EXIT_CODES[code.split('.')[0] ?? ''] ?? EXIT_UNEXPECTED;
}
