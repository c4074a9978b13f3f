/** Looks at the rollouts when something moved, and takes every step that follows: gateway/rollout/driver.ts in the model. */
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { isOnItsWay } from '#gateway/rollout/begin.ts';
import { selectorOf, targetsAmong } from '#gateway/rollout/targets.ts';
import { assigning } from '#gateway/rollout/waves.ts';
import { finish } from '#gateway/rollout/work.ts';
import type { RolloutId } from '#schema/ids.ts';
import type { Decisions } from './decisions.ts';
import type { Lanes } from './lanes.ts';
import type { OpenRollout } from './node.ts';
import type { World } from './world.ts';

/** Targets of rollouts that are on their way move by the hundred; some time after the last one it is quiet. */
const LIVELY_MS = 60_000;
/**
 * A rollout is looked at on the next beat after a change. Who is connected changes all day; and once a change is in use,
 * nobody waits for the next step. Each is a multiple of the ones before it.
 */
const BEAT_MS = { lively: 5_000, quiet: 60_000, presence: 300_000, inUse: 3_600_000 } as const;

const nextBeat = (time: number, beat: number): number => (Math.floor(time / beat) + 1) * beat;

/** All of it is the same in all lanes. Times are milliseconds since 1970. */
export class Driver {
  private readonly world: World;
  private readonly lanes: Lanes;
  private readonly decide: Decisions['progress'];
  private targetBeat: number = BEAT_MS.lively;
  /** When a target of a rollout on its way moved in this lane. */
  lastMove = Number.NEGATIVE_INFINITY;

  constructor(world: World, lanes: Lanes, decide: Decisions['progress']) {
    this.world = world;
    this.lanes = lanes;
    this.decide = decide;
  }

  /** Something that the rollout's decision looks at has changed in this lane; the others hear of it when the lanes meet. */
  moved(open: OpenRollout, by: 'target' | 'presence', now: number): void {
    if (by === 'target' && isOnItsWay(open.record)) this.lastMove = now;
    lookBy(open, nextBeat(now, this.beatOf(open.record, by)));
  }

  /** The last time that a target of a rollout on its way moved in any lane: how soon such a rollout is looked at from now on. */
  pace(now: number, lastMove: number): void {
    this.targetBeat = now - lastMove < LIVELY_MS ? BEAT_MS.lively : BEAT_MS.quiet;
  }

  /** Nothing that a device does at `from` or later brings about a look before this time. */
  earliestAfter(from: number): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { record } of this.world.openRollouts())
      earliest = Math.min(earliest, nextBeat(from, this.beatOf(record, 'target')));
    return earliest;
  }

  /** Looks at all that something calls for a look at by now. */
  look(now: Date): void {
    for (const id of this.world.toLookAt(now.getTime())) this.advance(id, now);
  }

  private beatOf(rollout: RolloutRecord, by: 'target' | 'presence'): number {
    if (!isOnItsWay(rollout)) return BEAT_MS.inUse;
    return by === 'presence' ? BEAT_MS.presence : this.targetBeat;
  }

  private advance(id: RolloutId, now: Date): void {
    const { world } = this;
    this.prepare(id, now);
    for (;;) {
      const outcome = world.advanceRollout(id, now, (rollout, keySet, tallies) =>
        rollout === undefined ? { kind: 'stay', until: undefined } : this.decide(rollout, keySet, tallies, now),
      );
      if (outcome.kind === 'advance') continue;
      const open = world.openRollout(id);
      if (open !== undefined && outcome.kind === 'stay' && outcome.until !== undefined)
        lookBy(open, outcome.until.getTime());
      return;
    }
  }

  private prepare(id: RolloutId, now: Date): void {
    const { world } = this;
    const rollout = world.rollout(id);
    if (rollout === undefined || rollout.finishedAt !== undefined || rollout.preparedAt !== undefined) return;
    const selector = selectorOf(rollout, world.keySetOf(rollout));
    const mine = finish(targetsAmong(world.planDevices(selector), rollout, selector));
    const numbers = this.lanes.exchange(Float64Array.from(mine, (device) => world.node(device.id).number));
    const places = finish(assigning(rollout.plan, world.devicesAt(numbers), rollout.planSha256));
    world.addTargets(id, places, now);
    world.advanceRollout(id, now, (current) =>
      current === undefined
        ? { kind: 'stay', until: undefined }
        : {
            kind: 'advance',
            rollout: { ...current, preparedAt: now },
            versions: [],
            due: current.state === 'active' ? 'all' : 'none',
            audit: [],
          },
    );
  }
}

function lookBy(open: OpenRollout, at: number): void {
  open.lookAt = Math.min(open.lookAt, at);
}
