/** What our programs exit with: one table from error codes to exit codes, the same for every program. */
import { ERROR_CODES, type ErrorCode } from './errors.ts';

export const EXIT_OK = 0;
export const EXIT_UNEXPECTED = 1;
export const EXIT_USAGE = 2;

/** What stands before the first dot of a code. */
export type ErrorArea = ErrorCode extends `${infer Area}.${string}` ? Area : never;

/** A new area does not compile until it has its exit code here. docs/cli.md and docs/agent.md list the meanings. */
const AREAS: Readonly<Record<ErrorArea, number>> = {
  internal: EXIT_UNEXPECTED,

  input: EXIT_USAGE,
  json: EXIT_USAGE,
  base64: EXIT_USAGE,
  der: EXIT_USAGE,
  csr: EXIT_USAGE,
  inventory: EXIT_USAGE,

  config: 3,
  data: 3,
  port: 3,
  runtime: 3,

  enrolment: 4,
  ticket: 4,

  network: 5,
  broker: 5,
  webhook: 5,

  store: 6,
  hsm: 6,

  agent: 7,

  trust: 8,
  certificate: 8,
  message: 8,
  envelope: 8,
  key: 8,
  audit: 8,
  report: 8,

  operator: 9,

  approval: 10,

  device: 11,
  keyset: 11,
  rollout: 11,
  authority: 11,
  alert: 11,
};

/** Codes that mean something else than their area. */
const CODES: Readonly<Partial<Record<ErrorCode, number>>> = {
  'agent.not-enrolled': 4,
  'agent.not-running': 5,
  'agent.state-corrupt': 6,
  'audit.unavailable': 6,
  'data.in-use': 7,
};

const isArea = (text: string): text is ErrorArea => Object.hasOwn(AREAS, text);

const TABLE: ReadonlyMap<ErrorCode, number> = new Map(
  ERROR_CODES.map((code) => {
    const area = code.slice(0, code.indexOf('.'));
    return [code, CODES[code] ?? (isArea(area) ? AREAS[area] : EXIT_UNEXPECTED)];
  }),
);

/** Never 0. */
export function exitCodeOf(code: ErrorCode): number {
  return TABLE.get(code) ?? EXIT_UNEXPECTED;
}
