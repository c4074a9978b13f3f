/** Counts of a rollout's targets, kept as they change: what the triggers of the gateway's database keep. */
import {
  OLD_VERSION_STATES,
  TARGET_STATES,
  type DeviceKeyVersion,
  type OldVersionState,
  type RolloutRecord,
  type RolloutTarget,
  type TargetState,
  type TargetTally,
} from '#gateway/ports/store/records.ts';
import type { Lanes } from './lanes.ts';

const STATE_INDEX = new Map(TARGET_STATES.map((state, index) => [state, index]));
const OLD_INDEX = new Map(OLD_VERSION_STATES.map((state, index) => [state, index]));
const FLAGS = 2;
const OF_OLD = OLD_VERSION_STATES.length;
const OF_STATE = FLAGS * FLAGS * OF_OLD;
const OF_SERVICE = TARGET_STATES.length * OF_STATE;
const OF_WAVE = FLAGS * OF_SERVICE;

export const stateIndex = (state: TargetState): number => STATE_INDEX.get(state) ?? 0;

function cell(target: RolloutTarget, online: boolean): number {
  return (
    target.wave * OF_WAVE +
    (target.service ? OF_SERVICE : 0) +
    stateIndex(target.state) * OF_STATE +
    (online ? FLAGS * OF_OLD : 0) +
    (target.deferredUntil === undefined ? 0 : OF_OLD) +
    (OLD_INDEX.get(target.old) ?? 0)
  );
}

const flag = (index: number, weight: number): boolean => Math.floor(index / weight) % FLAGS === 1;

type Cell = Omit<TargetTally, 'targets'>;

function cellAt(index: number): Cell {
  const state = TARGET_STATES[Math.floor(index / OF_STATE) % TARGET_STATES.length];
  const old = OLD_VERSION_STATES[index % OF_OLD];
  if (state === undefined || old === undefined) throw new RangeError(`${index} is no cell of a tally`);
  return {
    wave: Math.floor(index / OF_WAVE),
    service: flag(index, OF_SERVICE),
    state,
    online: flag(index, FLAGS * OF_OLD),
    deferred: flag(index, OF_OLD),
    old,
  };
}

/** Few of the many that there could be ever count anything. */
const cells = new Map<number, Cell>();

function knownCell(index: number): Cell {
  const known = cells.get(index) ?? cellAt(index);
  cells.set(index, known);
  return known;
}

/** As many numbers as the largest tally has, for plans of so many waves. */
export const tallySize = (waves: number): number => waves * OF_WAVE;

/** Counts of one lane's targets. */
export class Tally {
  private readonly counts: Float64Array;

  constructor(waves: number) {
    this.counts = new Float64Array(tallySize(waves));
  }

  /** Counts a target in the place of what it was, if anything. Returns whether that changed any count. */
  change(before: RolloutTarget | undefined, after: RolloutTarget, online: boolean): boolean {
    if (before !== undefined) {
      if (cell(before, online) === cell(after, online)) return false;
      this.add(before, online, -1);
    }
    this.add(after, online, 1);
    return true;
  }

  /** Counts a target in (`by` 1) or out (`by` -1). */
  add(target: RolloutTarget, online: boolean, by: 1 | -1): void {
    const index = cell(target, online);
    this.counts[index] = (this.counts[index] ?? 0) + by;
  }

  /** The counts of the whole floor: a meeting of the lanes. */
  rows(lanes: Lanes): readonly TargetTally[] {
    const all = lanes.exchange(this.counts);
    const rows: TargetTally[] = [];
    for (let index = 0; index < this.counts.length; index += 1) {
      let targets = 0;
      for (const counts of all) targets += counts[index] ?? 0;
      if (targets !== 0) rows.push({ ...knownCell(index), targets });
    }
    return rows;
  }
}

/** What the view `rollout_target_old` of the gateway's database says. */
export function oldVersionsOf(
  rollout: RolloutRecord,
  signedOff: RolloutTarget['signedOff'],
  rows: readonly DeviceKeyVersion[],
): OldVersionState {
  if (signedOff !== undefined) return 'waived';
  if (rollout.kind !== 'key-version') return 'gone';
  let held = false;
  let usable = false;
  let beyond = false;
  for (const { keySet, version, state } of rows) {
    if (keySet !== rollout.keySet) continue;
    if (version >= rollout.toVersion) beyond ||= state === 'active';
    else if (state !== 'destroyed') {
      held = true;
      usable ||= state !== 'retired';
    }
  }
  if (usable && !beyond) return 'in-use';
  return held ? 'held' : 'gone';
}
