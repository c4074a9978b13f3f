/** `croupier-sim run` in this process, as the command line runs it, and what it prints. */
import { expect } from 'vitest';
import { z } from 'zod';
import { runCommandLine } from '#simulator/cli.ts';

const Violation = z.strictObject({ device: z.string().nullable(), what: z.string() });
const Check = z.strictObject({ what: z.string(), checked: z.number(), violations: z.array(Violation) });

/** The JSON object of a run, with everything that it has. */
export const RunResult = z.strictObject({
  scenario: z.string(),
  title: z.string(),
  seed: z.string(),
  devices: z.number(),
  gateway: z.enum(['own', 'running']),
  ok: z.boolean(),
  seconds: z.number(),
  steps: z.array(
    z.strictObject({ name: z.string(), seconds: z.number(), count: z.number().nullable(), note: z.string() }),
  ),
  checks: z.array(Check),
  invariants: z.array(Check.extend({ id: z.string() })),
  messages: z.strictObject({ mean: z.number(), max: z.number(), maxDevice: z.string() }),
});
export type RunResult = z.infer<typeof RunResult>;

export interface CommandRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function simulate(...args: readonly string[]): Promise<CommandRun> {
  let [stdout, stderr] = ['', ''];
  const code = await runCommandLine(args, {
    stdout: (text) => (stdout += text),
    stderr: (text) => (stderr += text),
    outputFor: () => ({ write: (text) => (stderr += text), live: false, columns: 80, paint: (_, text) => text }),
    stopSignal: () => new AbortController().signal,
  });
  return { code, stdout, stderr };
}

/** Invariants of the table, as every run judges them. */
export const INVARIANTS = ['sync', 'I1', 'I3', 'I5', 'I6', 'I7', 'I9', 'I11'];

/** Runs a scenario; fails with what it printed unless everything holds that it looked at. */
export async function runsWell(scenario: string, ...options: readonly string[]): Promise<RunResult> {
  const { code, stdout, stderr } = await simulate('run', scenario, '--json', '--seed', 'test', ...options);
  if (code !== 0) throw new Error(`${scenario} ends with ${code}:\n${stderr}`);
  const result = RunResult.parse(JSON.parse(stdout));
  const empty = [...result.checks, ...result.invariants].filter(({ checked }) => checked === 0);
  if (empty.length > 0) throw new Error(`${scenario} looked at nothing: ${empty.map(({ what }) => what).join('; ')}`);
  return result;
}

/** Devices of a run in a test; it takes minutes at the most. */
const DEVICES = 6;
export const RUN_TIMEOUT_MS = 180_000;

/** Runs a scenario with a gateway of its own: everything holds, and every invariant was judged device by device. */
export async function holdsAsAWhole(scenario: string): Promise<void> {
  const result = await runsWell(scenario, '--devices', String(DEVICES));
  expect(result).toMatchObject({ scenario, seed: 'test', devices: DEVICES, gateway: 'own', ok: true });
  expect(result.invariants.map(({ id }) => id)).toEqual(INVARIANTS);
  for (const { id, checked } of result.invariants) if (id !== 'I7') expect(checked).toBe(DEVICES);
  expect(result.checks.length).toBeGreaterThan(1);
}
