/** Scenarios of `croupier-sim run` that need no gateway of their own, small, at one gateway; and a run that must fail. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '#schema/runtime/clock.ts';
import type { StorageImage } from '#simulator/floor/device.ts';
import { createSteps } from '#simulator/output/steps.ts';
import { SCENARIOS } from '#simulator/scenario/registry.ts';
import type { RunningScenario } from '#simulator/scenario/scenario.ts';
import { ORDINARY_POLICY } from '#simulator/stage/ordinary-policy.ts';
import { OwnGateway } from '#simulator/stage/own-gateway.ts';
import { isAllWell, isHeld, type ScenarioResult } from '#simulator/stage/result.ts';
import { rotate } from '#simulator/stage/rotations.ts';
import { runScenario } from '#simulator/stage/run-scenario.ts';
import { INVARIANTS, runsWell, simulate } from '#test/support/scenario-run.ts';

const LONG = 120_000;
const DEVICES = 6;

let gateway: OwnGateway & AsyncDisposable;

beforeAll(async () => {
  const config = { est: { failuresPerMinute: 1_000_000 } };
  gateway = await OwnGateway.open({ policy: ORDINARY_POLICY, config, keep: false });
});

afterAll(() => gateway[Symbol.asyncDispose]());

const here = (): string[] => ['--data', gateway.directory, '--devices', String(DEVICES)];

describe('given a running gateway', () => {
  test.each(SCENARIOS.filter(({ needs }) => needs === 'running').map(({ name }) => name))(
    'when the scenario %s is run against it, then everything holds, and every invariant was judged device by device',
    async (name) => {
      const result = await runsWell(name, ...here());
      expect(result).toMatchObject({ scenario: name, seed: 'test', devices: DEVICES, gateway: 'running', ok: true });
      expect(result.invariants.map(({ id }) => id)).toEqual(INVARIANTS);
      for (const { id, checked } of result.invariants) if (id !== 'I7') expect(checked).toBe(DEVICES);
      expect(result.checks.length).toBeGreaterThan(1);
      expect(result.messages.max).toBeGreaterThan(0);
    },
    LONG,
  );

  test('when a scenario that needs its own is run against it, then it is refused with what to do', async () => {
    const { code, stdout } = await simulate('run', 'kill-between-waves', '--json', ...here());
    expect(code).not.toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'input.invalid', message: /leave --data out/ } });
  });
});

/** A device goes back in time without a word of it: nothing is more forbidden. */
const sabotage: RunningScenario = {
  name: 'sabotage',
  away: 'its storage was replaced',
  back: 'nobody says so',
  needs: 'running',
  run: async (stage) => {
    const { floor } = stage;
    const [victim] = stage.choose(1, 'victim');
    if (victim === undefined) throw new Error('the floor has no device');
    const device = floor.device(victim);
    await device.switchOff('orderly');
    const image: StorageImage = await device.image();
    await device.switchOn();
    await rotate(stage, 'after the image was taken');
    await device.switchOff('orderly');
    await device.restore(image);
    await device.switchOn();
    stage.check('the victim is somebody', [victim], () => undefined);
  },
};

describe('given a device that goes back in time while nobody says so', () => {
  let result: ScenarioResult;

  beforeAll(async () => {
    const output = { write: () => undefined, live: false, columns: 80, paint: (_: unknown, text: string) => text };
    result = await runScenario(
      sabotage,
      { devices: DEVICES, seed: 'test', data: gateway.directory, keep: false },
      { steps: createSteps(output, systemClock), signal: new AbortController().signal },
    );
  }, 180_000);

  test('when the invariants are judged, then those that it breaks name it, and no other device', () => {
    expect(isAllWell(result)).toBe(false);
    const broken = result.invariants.filter((one) => !isHeld(one));
    expect(broken.map(({ id }) => id)).toEqual(['sync', 'I5']);
    const victims = new Set(broken.flatMap(({ violations }) => violations.map(({ device }) => device)));
    expect(victims.size).toBe(1);
    expect([...victims][0]).toMatch(/^S\d+-/);
  });

  test('when its other invariants are judged, then they hold for every device', () => {
    for (const { id, checked, violations } of result.invariants.filter(isHeld)) {
      expect(violations, id).toEqual([]);
      expect(checked, id).toBeGreaterThanOrEqual(DEVICES);
    }
  });
});
