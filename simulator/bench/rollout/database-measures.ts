/** What the gateway does with a large database, measured in one process without a network. */
import { randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId, Seq, Sha256 } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { decideReport } from '#gateway/delivery/decide-report.ts';
import { nextVersion } from '#gateway/keys/decide-rotation.ts';
import type { VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { decideProgress } from '#gateway/rollout/decide.ts';
import { planFor } from '#gateway/rollout/planning.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { ADDRESS, keyringOf, reportOf, type Filled, type FilledDevice } from './database-rows.ts';
import { summaryOf } from './quantiles.ts';

const Summary = z.object({ median: z.number(), p99: z.number() });

/** The line that database-program.ts says. Times are milliseconds. */
export const DatabaseMeasures = z.object({
  rollout: RolloutId,
  added: z.int(),
  fillSeconds: z.number(),
  /** One target recorded, microseconds. */
  targetMicroseconds: z.number(),
  /** A report that proves the new version active, alone in its transaction. */
  report: Summary,
  /** The same, each of a full batch: processor time. */
  batched: z.number(),
  /** A look at the rollout that finds nothing to do. */
  step: Summary,
  /** The step that makes every device due. */
  activation: z.number(),
  /** The dry run, its processor time, and the longest time for which it lets nothing else happen. */
  dryRun: z.number(),
  dryRunProcessor: z.number(),
  dryRunBlocks: z.number(),
});
export type DatabaseMeasures = z.infer<typeof DatabaseMeasures>;

type Measured = Omit<DatabaseMeasures, 'rollout' | 'added' | 'fillSeconds'>;

const BATCH = 64;
const BATCHES = 3;
const DRY_RUNS = 3;
/** The gaps that a timer of its own resolution sees in any case. */
const RESOLUTION_MS = 1;

async function timed(job: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await job();
  return performance.now() - begun;
}

/** Processor time of this process: it says what something costs even while others use the machine. */
async function processorTime(job: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await job();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

async function repeat(
  times: number,
  job: (time: number) => Promise<unknown>,
  cost: typeof timed = timed,
): Promise<readonly number[]> {
  const values: number[] = [];
  for (let time = 0; time < times; time += 1) values.push(await cost(() => job(time)));
  return values;
}

/** The longest stretch in which the event loop did nothing else, beside how long it all took. */
async function blocking(job: () => Promise<unknown>): Promise<{ readonly whole: number; readonly longest: number }> {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  await delay(RESOLUTION_MS * 10);
  histogram.reset();
  const whole = await timed(job);
  await delay(RESOLUTION_MS * 10);
  histogram.disable();
  return { whole, longest: histogram.max / 1e6 };
}

/** The device has taken the new version into use. */
function activeReport(filled: Filled, device: FilledDevice): VerifiedReport {
  const { realm, trust, keySet, rollout } = filled;
  const now = new Date();
  const keyring = keyringOf(keySet, rollout, { old: 'stored', own: 'active' });
  const seq = Seq.parse(device.report.lastSeq + 1);
  const report = reportOf(realm, device.id, device.certificate, keyring, {
    before: device,
    seq,
    now,
    trustVersion: trust,
  });
  const digest = Sha256.parse(randomBytes(32).toString('hex'));
  return { report, digest, certificate: device.certificate, address: ADDRESS, receivedAt: now };
}

/** Records reports as the gateway does. Errors: `internal.unexpected` unless each of them moves its target to active. */
async function record(store: Store, filled: Filled, reports: readonly VerifiedReport[]): Promise<void> {
  const policy = filled.policy.delivery;
  const windows = createWindows(filled.policy.rollouts.windows);
  const outcomes = await store.recordReports(reports, (state, report) => decideReport(state, report, policy, windows));
  for (const outcome of outcomes) {
    const isMoved = outcome?.kind === 'accepted' && outcome.targets.some(({ state }) => state === 'active');
    if (!isMoved) throw new CroupierError('internal.unexpected', `a report was ${JSON.stringify(outcome)}`);
  }
}

export async function measureDatabase(store: Store, filled: Filled, repetitions: number): Promise<Measured> {
  const { rollout, keySet, policy, targetMicroseconds } = filled;
  const ready = filled.added.filter(({ standing }) => standing.state === 'stored' && standing.deferred !== true);
  const alone = Math.min(repetitions, Math.floor(ready.length / 2));
  const report = await repeat(alone, async (time) => {
    const device = ready[time];
    if (device !== undefined) await record(store, filled, [activeReport(filled, device)]);
  });
  const rest = ready.slice(alone);
  const size = Math.min(BATCH, rest.length);
  const batched = await repeat(
    Math.min(BATCHES, Math.floor(rest.length / size)),
    (time) => {
      const batch = rest.slice(time * size, (time + 1) * size);
      return record(
        store,
        filled,
        batch.map((device) => activeReport(filled, device)),
      );
    },
    processorTime,
  );

  const step = await repeat(repetitions, async () => {
    const now = new Date();
    const outcome = await store.advanceRollout(rollout.id, now, (current, of, tallies) =>
      current === undefined ? { kind: 'stay', until: undefined } : decideProgress(current, of, tallies, now),
    );
    if (outcome.kind !== 'stay') throw new CroupierError('internal.unexpected', `the rollout did ${outcome.kind}`);
  });

  const { fromVersion } = rollout;
  const change = { kind: 'key-version', keySet: keySet.name, fromVersion, toVersion: nextVersion(keySet) } as const;
  const plan = () => planFor({ store, clock: systemClock, policy: () => policy }, change, {});
  const dry = { whole: [] as number[], longest: [] as number[] };
  for (let time = 0; time < DRY_RUNS; time += 1) {
    const { whole, longest } = await blocking(plan);
    dry.whole.push(whole);
    dry.longest.push(longest);
  }
  const dryRunProcessor = await processorTime(plan);
  const activation = await timed(() => raiseAll(store, filled));
  return {
    targetMicroseconds,
    report: summaryOf(report),
    batched: summaryOf(batched).median / size,
    step: summaryOf(step),
    activation,
    dryRun: summaryOf(dry.whole).median,
    dryRunProcessor,
    dryRunBlocks: summaryOf(dry.longest).median,
  };
}

/** What the step to active does with the store, once more. */
async function raiseAll(store: Store, { rollout: { id, toVersion } }: Filled): Promise<void> {
  await store.advanceRollout(id, new Date(), (current) => {
    if (current === undefined) throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
    const versions = [{ version: toVersion, state: 'pre-activation', retired: false, erase: false } as const];
    return { kind: 'advance', rollout: current, versions, due: 'all', audit: [] };
  });
}
