/** A run of the model: its lanes on threads, and what they come to together. */
import { hash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Worker } from 'node:worker_threads';
import { CroupierError } from '#schema/errors.ts';
import { parseWith } from '#schema/parse.ts';
import { MOST_WAVES } from '#schema/rollout-plan.ts';
import type { Counters, RolloutAccount } from './account.ts';
import { ORDINARY, type Shares } from './floor.ts';
import { LaneMessage, type LaneResult, type LaneTask, type RunTerms } from './lane-messages.ts';
import { readPolicy } from './policy.ts';
import { createLaneMemory } from './shared-lanes.ts';
import { tallySize } from './tally.ts';
import { KEPT, type Violation } from './watch.ts';

/** Part of the model, as the seed is: a floor in more lanes has another history, so that it does not depend on the machine. */
const LANES = 2;
const LANE_FILE = new URL('lane-worker.ts', import.meta.url);

export interface ModelOptions {
  readonly devices: number;
  readonly days: number;
  readonly seed: string;
  /** Fleet policy, YAML. */
  readonly policy: string;
  readonly shares?: Shares;
  /** After each day of the model, with the events so far. */
  readonly onDay?: (day: number, events: number) => void;
  readonly signal?: AbortSignal;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface ModelResult {
  readonly seed: string;
  readonly devices: number;
  readonly days: number;
  readonly events: number;
  readonly messages: Counters;
  readonly rollouts: readonly RolloutAccount[];
  /** Devices that were away for a day or more and came back, until they held what they should. */
  readonly returned: { readonly devices: number; readonly messages: Percentiles; readonly ms: Percentiles };
  readonly checks: number;
  readonly violations: number;
  readonly named: readonly Violation[];
  /** Two runs that agree to the last step have the same. */
  readonly digest: string;
}

/** Errors: `config.invalid` for a policy that cannot be read; the signal's reason; whatever a lane ends with. */
export async function runModel({ onDay, signal, ...options }: ModelOptions): Promise<ModelResult> {
  const terms: RunTerms = { shares: ORDINARY, ...options };
  readPolicy(terms.policy);
  signal?.throwIfAborted();
  const memory = createLaneMemory(LANES, Math.max(terms.devices, tallySize(MOST_WAVES)));
  const lanes = Array.from({ length: LANES }, (_, index) => {
    const task: LaneTask = { terms, index, memory };
    return new Worker(LANE_FILE, { workerData: task });
  });
  const events = lanes.map(() => 0);
  const inLane = (index: number) => (day: number, soFar: number) => {
    events[index] = soFar;
    // The lanes are at most a meeting apart.
    if (index === 0) onDay?.(day, total(events));
  };
  try {
    const results = await Promise.all(lanes.map((lane, index) => resultOf(lane, signal, inLane(index))));
    return together(terms, results);
  } finally {
    await Promise.all(lanes.map((lane) => lane.terminate()));
  }
}

async function resultOf(
  lane: Worker,
  signal: AbortSignal | undefined,
  onDay: (day: number, events: number) => void,
): Promise<LaneResult> {
  return new Promise((resolve, reject) => {
    lane.on('message', (value: unknown) => {
      try {
        const message = parseWith(LaneMessage, value, 'internal.unexpected', 'what a lane says');
        if (message.kind === 'day') onDay(message.day, message.events);
        else resolve(message.result);
      } catch (error) {
        reject(error);
      }
    });
    lane.once('error', reject);
    lane.once('exit', (code) =>
      reject(new CroupierError('internal.unexpected', `a lane ended by itself, with ${code}`)),
    );
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

function percentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (fraction: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}

function together({ seed, devices, days }: RunTerms, lanes: readonly LaneResult[]): ModelResult {
  const sum = (of: (lane: LaneResult) => number): number => total(lanes.map(of));
  const [first] = lanes;
  const rollouts = first?.rollouts ?? [];
  if (lanes.some((lane) => !isDeepStrictEqual(lane.rollouts, rollouts)))
    throw new CroupierError(
      'internal.unexpected',
      'the lanes of the model do not agree on what became of the rollouts',
    );
  const returned = lanes.flatMap((lane) => lane.returned);
  return {
    seed,
    devices,
    days,
    events: sum(({ events }) => events),
    messages: {
      updates: sum(({ messages }) => messages.updates),
      links: sum(({ messages }) => messages.links),
      reports: sum(({ messages }) => messages.reports),
      lost: sum(({ messages }) => messages.lost),
      quarantined: sum(({ messages }) => messages.quarantined),
    },
    rollouts,
    returned: {
      devices: returned.length,
      messages: percentiles(returned.map(({ messages }) => messages)),
      ms: percentiles(returned.map(({ ms }) => ms)),
    },
    checks: sum(({ checks }) => checks),
    violations: sum(({ violations }) => violations),
    named: lanes
      .flatMap(({ named }) => named)
      .sort((a, b) => (a.at < b.at ? -1 : 1))
      .slice(0, KEPT),
    digest: hash('sha256', lanes.map(({ digest }) => digest).join('\n'), 'hex'),
  };
}
