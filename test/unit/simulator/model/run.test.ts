import { describe, expect, test } from 'vitest';
import { runLane } from '#simulator/model/lane.ts';
import { ALONE } from '#simulator/model/lanes.ts';
import { runModel, type ModelOptions, type ModelResult } from '#simulator/model/run.ts';
import { MODEL_POLICY, readPolicy } from '#simulator/model/policy.ts';
import { modelDocument, writeModel } from '#simulator/model/print.ts';
import { CroupierError } from '#schema/errors.ts';

const LONG_MS = 120_000;
const SHARES = { wanderers: 0.1, flaky: 0.02, busy: 0.1, refuses: 0.01, hoards: 0.01 };

const run = (over: Partial<ModelOptions> = {}): Promise<ModelResult> =>
  runModel({ devices: 200, days: 60, seed: 'a', policy: MODEL_POLICY, shares: SHARES, ...over });

describe('a run of the model', () => {
  test(
    'given one seed, then every run has the same history; given another one, then another',
    async () => {
      const [first, again, other] = [
        await run({ days: 30 }),
        await run({ days: 30 }),
        await run({ days: 30, seed: 'b' }),
      ];
      expect(again).toEqual(first);
      expect(other.digest).not.toBe(first.digest);
    },
    LONG_MS,
  );

  test(
    'given a floor with difficult devices, then rotations pass their waves in order, and no invariant breaks',
    async () => {
      const { rollouts, named, violations, returned } = await run({ days: 120 });
      expect(named).toEqual([]);
      expect(violations).toBe(0);
      const rotations = rollouts.filter(({ reached }) => reached.active !== undefined && reached.ready !== undefined);
      expect(rotations.length).toBeGreaterThan(1);
      for (const { waves, reached } of rotations) {
        expect(waves.map(({ name }) => name)).toEqual(['canary', 'tenth', 'half', 'all']);
        waves.slice(1).forEach(({ openedAt }, index) => expect(openedAt).toBe(waves[index]?.passedAt));
        expect(reached.active).toBeGreaterThanOrEqual(waves.at(-1)?.passedAt ?? Infinity);
      }
      expect(rollouts.filter(({ what }) => what.startsWith('trust bundle')).length).toBe(1);
      expect(returned.devices).toBeGreaterThan(0);
      expect(returned.messages.max).toBeLessThan(15);
    },
    LONG_MS,
  );

  test(
    'given a floor in one part, then its rollouts go the way that they go in the lanes of a run',
    async () => {
      const terms = { devices: 200, days: 60, seed: 'a', policy: MODEL_POLICY, shares: SHARES };
      const days: number[] = [];
      const whole = runLane(terms, ALONE, (day) => days.push(day));
      const { rollouts, messages } = await run();
      expect(days).toHaveLength(60);
      expect(whole.messages.updates).toBeGreaterThan(1_000);
      expect(messages).toEqual(whole.messages);
      expect(rollouts).toEqual(whole.rollouts);
    },
    LONG_MS,
  );

  test(
    'given a run, then it tells how far it is; given that it is stopped, then its lanes end',
    { timeout: LONG_MS },
    async () => {
      const days: number[] = [];
      const stop = new AbortController();
      const onDay = (day: number): void => {
        days.push(day);
        if (day === 3) stop.abort(new Error('enough'));
      };
      await expect(run({ days: 3_650, onDay, signal: stop.signal })).rejects.toThrow('enough');
      expect(days.slice(0, 3)).toEqual([1, 2, 3]);
      expect(days.length).toBeLessThan(3_650);
    },
  );

  test('given terms that no lane can run, then the run fails with what they say', { timeout: LONG_MS }, async () => {
    await expect(run({ days: 1.5 })).rejects.toThrow(/the task of a lane: terms\.days/);
  });

  test('given a result, then it is told to people and to programs', { timeout: LONG_MS }, async () => {
    const result = await run({ days: 30 });
    let text = '';
    writeModel({ write: (part) => (text += part), live: false, columns: 80, paint: (_, plain) => plain }, result, 1);
    expect(text).toContain('jackpot-mac 2');
    expect(text).toContain(result.digest);
    expect(JSON.parse(modelDocument(result, 1))).toMatchObject({ seed: 'a', devices: 200, violations: 0 });
  });
});

describe('the policy of a run', () => {
  test('given a policy as YAML, then it is read; what is wrong with it is named', () => {
    expect(readPolicy('version: 1\nclasses: {}\n').keySets).toEqual({});
    expect(() => readPolicy('version: 2\nclasses: {}\n')).toThrow(CroupierError);
    expect(() => readPolicy('a: [')).toThrow(/not YAML/);
    const windows = 'version: 1\nclasses: {}\nrollouts: { windows: { harbour: { cron: never, duration: 1h } } }\n';
    expect(() => readPolicy(windows)).toThrow(/harbour/);
  });
});
