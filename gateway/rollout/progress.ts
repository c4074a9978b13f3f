/** What the counts of a rollout's targets mean. Pure; everything was proved by signed reports but who is online. */
import type { RolloutRecord, RolloutState, TargetState, TargetTally } from '#gateway/ports/store/records.ts';
import { askedStates } from './unanswered.ts';

/** Where a target stands for the wave that it belongs to. */
export type TargetStanding = 'done' | 'failed' | 'waiting' | 'left-out';

const LEFT_OUT: ReadonlySet<TargetState> = new Set(['superseded', 'quarantined', 'exempt']);
const FAILED: ReadonlySet<TargetState> = new Set(['refused', 'stalled']);
const HAS_STORED: ReadonlySet<TargetState> = new Set(['stored', 'overdue', 'active', 'old-retired', 'old-destroyed']);
const USES: ReadonlySet<TargetState> = new Set(['active', 'old-retired', 'old-destroyed']);

/** A key version is distributed when it is stored; a trust bundle or a new certificate when it is in use. */
export function standingOf(kind: RolloutRecord['kind'], state: TargetState): TargetStanding {
  if (LEFT_OUT.has(state)) return 'left-out';
  if (FAILED.has(state) || (kind !== 'key-version' && state === 'overdue')) return 'failed';
  const done = kind === 'key-version' ? HAS_STORED : USES;
  return done.has(state) ? 'done' : 'waiting';
}

export interface WaveProgress {
  readonly wave: number;
  readonly name: string;
  /** Targets that are not left out. */
  readonly total: number;
  readonly done: number;
  readonly failed: number;
  /** Not answered yet, by whether they are connected. */
  readonly waiting: number;
  readonly offline: number;
  /** Those of them that have left since they were asked. */
  readonly vanished: number;
  readonly servicesBehind: number;
  /** Those of them that failed or are not there. One that is being asked, or waits for its window, does not lag. */
  readonly servicesLagging: number;
}

export interface RolloutProgress {
  readonly byState: Readonly<Partial<Record<TargetState, number>>>;
  readonly total: number;
  readonly waves: readonly WaveProgress[];
  /** Connected targets that have not answered yet. */
  readonly reachableUnstored: number;
  /** Connected targets that have stored the change. */
  readonly reachableStored: number;
  /** Connected targets that do not use the change yet, and have not failed to. */
  readonly reachableUnused: number;
  /** Targets of class `service`, connected or not, that have not stored the change. */
  readonly servicesUnstored: number;
  /** Targets not connected that have not reached the rollout's present goal: the catch-up. */
  readonly offlineBehind: number;
  /** Targets that were told to use the change, by whether they do, do not in time, or defer it. */
  readonly using: number;
  readonly overdue: number;
  readonly deferred: number;
  /** Targets that may have an old version in use, and that hold one; those signed off are not among them. */
  readonly oldInUse: number;
  readonly oldHeld: number;
  readonly signedOff: number;
}

/** The path of a target that meets no obstacle. */
const PATH: readonly TargetState[] = ['pending', 'offered', 'stored', 'active', 'old-retired', 'old-destroyed'];

/** What a rollout of each state wants of its targets now. */
const GOAL: Readonly<Record<RolloutState, TargetState>> = {
  approved: 'pending',
  distributing: 'stored',
  ready: 'stored',
  active: 'active',
  retiring: 'old-retired',
  retired: 'old-retired',
  destroying: 'old-destroyed',
  destroyed: 'old-destroyed',
  completed: 'active',
  aborted: 'pending',
  superseded: 'pending',
  compromised: 'pending',
};

function behindGoal(rollout: Pick<RolloutRecord, 'kind' | 'state'>, state: TargetState): boolean {
  if (LEFT_OUT.has(state)) return false;
  if (FAILED.has(state)) return GOAL[rollout.state] !== 'pending';
  const goal = rollout.kind === 'key-version' ? GOAL[rollout.state] : 'active';
  return PATH.indexOf(state === 'overdue' ? 'stored' : state) < PATH.indexOf(goal);
}

const isToUse = (state: TargetState): boolean =>
  !LEFT_OUT.has(state) && !FAILED.has(state) && !USES.has(state) && state !== 'overdue';

/** While it is counted. */
type Counted<T> = { -readonly [Name in keyof T]: T[Name] };

function countInWave(
  wave: Counted<WaveProgress>,
  standing: TargetStanding,
  isAsked: boolean,
  tally: TargetTally,
): void {
  const { targets, online, service } = tally;
  if (standing === 'left-out') return;
  wave.total += targets;
  if (standing === 'done') wave.done += targets;
  if (standing === 'failed') wave.failed += targets;
  if (standing === 'waiting' && online) wave.waiting += targets;
  if (standing === 'waiting' && !online) {
    wave.offline += targets;
    if (isAsked) wave.vanished += targets;
  }
  if (!service || standing === 'done') return;
  wave.servicesBehind += targets;
  if (standing === 'failed' || !online) wave.servicesLagging += targets;
}

/** One pass over the tallies: this is asked at every look at a rollout. */
export function progressOf(
  rollout: Pick<RolloutRecord, 'kind' | 'state' | 'plan'>,
  tallies: readonly TargetTally[],
): RolloutProgress {
  const isKeyVersion = rollout.kind === 'key-version';
  const asked = askedStates(rollout.kind);
  const byState: Partial<Record<TargetState, number>> = {};
  const waves = rollout.plan.waves.map(({ name }, wave): Counted<WaveProgress> => ({
    wave,
    name,
    total: 0,
    done: 0,
    failed: 0,
    waiting: 0,
    offline: 0,
    vanished: 0,
    servicesBehind: 0,
    servicesLagging: 0,
  }));
  const sums = {
    total: 0,
    reachableUnstored: 0,
    reachableStored: 0,
    reachableUnused: 0,
    servicesUnstored: 0,
    offlineBehind: 0,
    using: 0,
    overdue: 0,
    deferred: 0,
    oldInUse: 0,
    oldHeld: 0,
    signedOff: 0,
  };
  for (const tally of tallies) {
    const { state, old, online, service, targets } = tally;
    // A key version has its old versions to wait for; of the others a straggler that was signed off is not expected at all.
    const standing = old === 'waived' && !isKeyVersion ? 'left-out' : standingOf(rollout.kind, state);
    const wave = waves[tally.wave];
    if (wave !== undefined) countInWave(wave, standing, asked.includes(state), tally);
    byState[state] = (byState[state] ?? 0) + targets;
    sums.total += targets;
    if (online) {
      if (standing === 'waiting') sums.reachableUnstored += targets;
      if (standing === 'done') sums.reachableStored += targets;
      if (isToUse(state)) sums.reachableUnused += targets;
    } else if (behindGoal(rollout, state)) sums.offlineBehind += targets;
    if (service && (standing === 'waiting' || standing === 'failed')) sums.servicesUnstored += targets;
    if (USES.has(state)) sums.using += targets;
    if (state === 'overdue') sums.overdue += targets;
    if (tally.deferred) sums.deferred += targets;
    if (old === 'waived') sums.signedOff += targets;
    if (state === 'quarantined') continue;
    if (old === 'in-use') sums.oldInUse += targets;
    if (old === 'in-use' || old === 'held') sums.oldHeld += targets;
  }
  return { byState, waves, ...sums };
}
