/** The people of the floor, as a script with delays: they see to what is due, paused, or left over. */
import type { RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import { rotationsDue } from '#gateway/rollout/cryptoperiod.ts';
import { TARGET_STATES } from '#gateway/ports/store/records.ts';
import type { DeviceId, RolloutId } from '#schema/ids.ts';
import type { Engine } from './engine.ts';
import { People } from './people.ts';
import type { Stream } from './stream.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export interface StaffHabits {
  /** Days after the beginning on which a trust bundle is published. */
  readonly trustOnDays: readonly number[];
  readonly trustPlan: string | undefined;
  /** From a request to its approval, at the least and at the most. */
  readonly approvalMs: readonly [number, number];
  readonly retireAfterMs: number;
  readonly destroyAfterMs: number;
  readonly signOffAfterMs: number;
  /** From the beginning of a destruction, until those that have not answered are signed off. */
  readonly giveUpAfterMs: number;
  readonly lookIntoPauseMs: number;
}

export const ORDINARY_STAFF: StaffHabits = {
  trustOnDays: [40, 130, 220, 310],
  trustPlan: 'trust',
  approvalMs: [HOUR, 24 * HOUR],
  retireAfterMs: 7 * DAY,
  destroyAfterMs: 3 * DAY,
  signOffAfterMs: 5 * DAY,
  giveUpAfterMs: 60 * DAY,
  lookIntoPauseMs: 4 * HOUR,
};

/** How often the gateway looks at the cryptoperiods. */
const CRYPTOPERIOD_LOOK_MS = HOUR;
/** Devices that people look at together. */
const AT_ONCE = 1_000;

const FAILED: ReadonlySet<RolloutTarget['state']> = new Set(
  TARGET_STATES.filter((state) => ['refused', 'stalled', 'overdue'].includes(state)),
);

export class Staff {
  readonly people: People;
  private readonly engine: Engine;
  private readonly habits: StaffHabits;
  private readonly stream: Stream;
  private readonly proposed = new Set<string>();
  private readonly retried = new Map<RolloutId, Set<DeviceId>>();

  constructor(engine: Engine, habits: StaffHabits, stream: Stream) {
    this.engine = engine;
    this.people = new People(engine);
    this.habits = habits;
    this.stream = stream;
  }

  begin(): void {
    const { engine, habits } = this;
    this.lookAtCryptoperiods();
    for (const day of habits.trustOnDays)
      engine.at(engine.now + day * DAY, () => void this.people.publishTrust(habits.trustPlan));
  }

  /** Something happened to a rollout that people are told of. */
  told(before: RolloutRecord | undefined, after: RolloutRecord): void {
    const { habits } = this;
    const { id } = after;
    if (after.pause !== undefined && before?.pause === undefined)
      this.after(habits.lookIntoPauseMs, () => this.lookInto(id));
    if (before?.state === after.state && before.stragglersAt === after.stragglersAt) return;
    if (after.state === 'active' && before?.state !== 'active' && after.kind === 'key-version')
      this.after(habits.retireAfterMs, () => this.retire(id));
    if (after.state === 'retired' && before?.state !== 'retired')
      this.after(habits.destroyAfterMs + this.approval(), () => void this.people.destroy(id));
    if (after.stragglersAt !== undefined && before?.stragglersAt === undefined)
      this.after(habits.signOffAfterMs + this.approval(), () => this.signOff(id));
    if (after.state === 'destroying' && before?.state !== 'destroying')
      this.after(habits.giveUpAfterMs + this.approval(), () => this.signOff(id));
  }

  private after(ms: number, errand: () => void): void {
    this.engine.at(this.engine.now + ms, errand);
  }

  private approval(): number {
    return this.stream.between(...this.habits.approvalMs);
  }

  /** The gateway starts what its policy lets it start; a proposal waits for a person and an approval. */
  private lookAtCryptoperiods(): void {
    const { engine } = this;
    const { world, policy } = engine;
    for (const { keySet, version, state, start, plan } of rotationsDue(
      world.keySets,
      policy,
      world.open,
      engine.date,
    )) {
      if (state !== 'due' && state !== 'overdue') continue;
      if (start === 'automatic') this.people.rotate(keySet, plan);
      const name = `${keySet} ${version}`;
      if (start !== 'propose' || this.proposed.has(name)) continue;
      this.proposed.add(name);
      this.after(this.approval(), () => void this.people.rotate(keySet, plan));
    }
    this.after(CRYPTOPERIOD_LOOK_MS, () => this.lookAtCryptoperiods());
  }

  /** A rollout that is paused then is retired once it goes on. */
  private retire(id: RolloutId): void {
    const rollout = this.engine.world.rollout(id);
    if (rollout?.state === 'active' && this.people.retire(id) === 'refused') this.after(DAY, () => this.retire(id));
  }

  /** What failed is tried once more; what fails again is left out. */
  private lookInto(id: RolloutId): void {
    const { world } = this.engine;
    const rollout = world.rollout(id);
    if (rollout?.pause === undefined || rollout.finishedAt !== undefined) return;
    const tried = this.retried.get(id) ?? new Set<DeviceId>();
    this.retried.set(id, tried);
    const failed = world
      .targets(id, ({ state }) => FAILED.has(state))
      .map(({ device }) => device.id)
      .slice(0, AT_ONCE);
    const anew = failed.filter((device) => !tried.has(device));
    const again = failed.filter((device) => tried.has(device));
    for (const device of anew) tried.add(device);
    if (anew.length > 0) this.people.retry(id, anew);
    if (again.length > 0) this.people.exempt(id, again);
    this.people.resume(id);
  }

  /** Those that it waits for: before the retirement they use an old version, before the destruction they hold one. */
  private signOff(id: RolloutId): void {
    const { world } = this.engine;
    const rollout = world.rollout(id);
    if (rollout?.kind !== 'key-version' || rollout.finishedAt !== undefined) return;
    const isWaitedFor = ({ old }: RolloutTarget): boolean =>
      old === 'in-use' || (old === 'held' && rollout.state === 'destroying');
    const behind = world.targets(id, isWaitedFor).map(({ device }) => device.id);
    if (behind.length > 0) this.people.signOff(id, behind);
  }
}
