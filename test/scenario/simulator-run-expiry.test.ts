/** The scenario in which real time has to pass, each with a gateway of its own. */
import { describe, expect, test } from 'vitest';
import { INVARIANTS, runsWell } from '#test/support/scenario-run.ts';

const LONG = 180_000;
const DEVICES = 6;

describe('given a gateway of its own', () => {
  test.each(['expired-certificate'])(
    'when the scenario %s is run, then everything holds, and every invariant was judged device by device',
    async (name) => {
      const result = await runsWell(name, '--devices', String(DEVICES));
      expect(result).toMatchObject({ scenario: name, seed: 'test', devices: DEVICES, gateway: 'own', ok: true });
      expect(result.invariants.map(({ id }) => id)).toEqual(INVARIANTS);
      for (const { id, checked } of result.invariants) if (id !== 'I7') expect(checked).toBe(DEVICES);
      expect(result.checks.length).toBeGreaterThan(1);
    },
    LONG,
  );
});
