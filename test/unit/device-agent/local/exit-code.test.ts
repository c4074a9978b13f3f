import { expect, test } from 'vitest';
import { EXIT_UNEXPECTED, exitCodeOf } from '#agent/local/exit-code.ts';
import { ERROR_CODES } from '#schema/errors.ts';

test('given every code of the catalogue, then none counts as success', () => {
  for (const code of ERROR_CODES) expect(exitCodeOf(code)).toBeGreaterThan(0);
});

test.each([
  ['input.invalid', 2],
  ['config.missing', 3],
  ['ticket.invalid', 4],
  ['enrolment.code-invalid', 4],
  ['agent.not-enrolled', 4],
  ['network.timeout', 5],
  ['agent.not-running', 5],
  ['agent.state-corrupt', 6],
  ['store.unavailable', 6],
  ['agent.running', 7],
  ['trust.root-mismatch', 8],
  ['internal.unexpected', EXIT_UNEXPECTED],
] as const)('given %s, then the exit code is %i', (code, expected) => {
  expect(exitCodeOf(code)).toBe(expected);
});
