/** What the counts of a rollout's targets mean. Pure; everything was proved by signed reports but who is online. */
import type { RolloutRecord, RolloutState, TargetState, TargetTally } from '#gateway/ports/store/records.ts';

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

export function progressOf(
  rollout: Pick<RolloutRecord, 'kind' | 'state' | 'plan'>,
  tallies: readonly TargetTally[],
): RolloutProgress {
  const byState: Partial<Record<TargetState, number>> = {};
  for (const { state, targets } of tallies) byState[state] = (byState[state] ?? 0) + targets;
  const sum = (of: (tally: TargetTally) => boolean): number =>
    tallies.reduce((total, tally) => (of(tally) ? total + tally.targets : total), 0);
  // A key version has its old versions to wait for; of the others a straggler that was signed off is not expected at all.
  const isWaived = ({ old }: TargetTally): boolean => old === 'waived' && rollout.kind !== 'key-version';
  const standing = (tally: TargetTally): TargetStanding =>
    isWaived(tally) ? 'left-out' : standingOf(rollout.kind, tally.state);
  const waves = rollout.plan.waves.map(({ name }, wave): WaveProgress => {
    const mine = (of: (tally: TargetTally) => boolean): number => sum((tally) => tally.wave === wave && of(tally));
    return {
      wave,
      name,
      total: mine((tally) => standing(tally) !== 'left-out'),
      done: mine((tally) => standing(tally) === 'done'),
      failed: mine((tally) => standing(tally) === 'failed'),
      waiting: mine((tally) => standing(tally) === 'waiting' && tally.online),
      offline: mine((tally) => standing(tally) === 'waiting' && !tally.online),
      servicesBehind: mine((tally) => tally.service && ['waiting', 'failed'].includes(standing(tally))),
      servicesLagging: mine(
        (tally) => tally.service && (standing(tally) === 'failed' || (standing(tally) === 'waiting' && !tally.online)),
      ),
    };
  });
  return {
    byState,
    total: sum(() => true),
    waves,
    reachableUnstored: sum((tally) => tally.online && standing(tally) === 'waiting'),
    reachableStored: sum((tally) => tally.online && standing(tally) === 'done'),
    reachableUnused: sum((tally) => tally.online && isToUse(tally.state)),
    servicesUnstored: sum((tally) => tally.service && ['waiting', 'failed'].includes(standing(tally))),
    offlineBehind: sum((tally) => !tally.online && behindGoal(rollout, tally.state)),
    using: sum((tally) => USES.has(tally.state)),
    overdue: byState.overdue ?? 0,
    deferred: sum((tally) => tally.deferred),
    oldInUse: sum((tally) => tally.old === 'in-use' && tally.state !== 'quarantined'),
    oldHeld: sum((tally) => (tally.old === 'in-use' || tally.old === 'held') && tally.state !== 'quarantined'),
    signedOff: sum((tally) => tally.old === 'waived'),
  };
}
