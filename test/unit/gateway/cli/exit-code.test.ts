import { expect, test } from 'vitest';
import { ERROR_CODES } from '#schema/errors.ts';
import { EXIT_UNEXPECTED, EXIT_USAGE, exitCodeOf } from '#schema/exit-code.ts';

test('given every code of the catalogue, then none counts as success, and only the unexpected as unexpected', () => {
  for (const code of ERROR_CODES) {
    expect(exitCodeOf(code), code).toBeGreaterThan(0);
    expect(exitCodeOf(code) === EXIT_UNEXPECTED, code).toBe(code.startsWith('internal.'));
  }
});

test.each([
  ['input.invalid', EXIT_USAGE],
  ['inventory.invalid', EXIT_USAGE],
  ['config.missing', 3],
  ['data.initialised', 3],
  ['runtime.unsupported', 3],
  ['enrolment.parked', 4],
  ['network.unreachable', 5],
  ['hsm.pin-wrong', 6],
  ['store.corrupt', 6],
  ['audit.unavailable', 6],
  ['data.in-use', 7],
  ['audit.broken', 8],
  ['certificate.untrusted', 8],
  ['operator.forbidden', 9],
  ['approval.self', 10],
  ['device.not-found', 11],
  ['rollout.devices-depend', 11],
  ['internal.unexpected', EXIT_UNEXPECTED],
] as const)('given %s, then the exit code is %i', (code, expected) => {
  expect(exitCodeOf(code)).toBe(expected);
});
