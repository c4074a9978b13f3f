/**
 * The gateway's store in memory: exactly the rows that delivery and rollouts decide on, changed as the database's
 * statements and triggers change them (gateway/store). What changed is told to who listens.
 */
import type { KeySetRecord, RolloutRecord, RolloutTarget, TargetTally } from '#gateway/ports/store/records.ts';
import type {
  KeyVersionChange,
  PlanDevice,
  RolloutContext,
  RolloutOutcome,
  StartOutcome,
  TargetsOutcome,
} from '#gateway/ports/store/rollouts.ts';
import { UNANSWERED } from '#gateway/rollout/unanswered.ts';
import type { Assignment, Placeable } from '#gateway/rollout/waves.ts';
import { TrustVersion, type DeviceId, type KeySetName, type RolloutId } from '#schema/ids.ts';
import { selects, type Selector } from '#schema/policy.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceRows, FROM_THE_START, type DeviceListener } from './device-rows.ts';
import type { Lanes } from './lanes.ts';
import type { ModelNode, OpenRollout, RolloutEntry } from './node.ts';
import { changedVersion } from './key-versions.ts';
import { Tally } from './tally.ts';

export interface WorldListener extends DeviceListener {
  rolloutStep(before: RolloutRecord | undefined, after: RolloutRecord, tallies: readonly TargetTally[]): void;
  versionsChanged(keySet: KeySetRecord, changes: readonly KeyVersionChange[]): void;
}

type Start = Extract<StartOutcome, { kind: 'start' }>;

/** Nothing more is wanted of targets in these states, as in gateway/store/sqlite/rollout-targets.ts. */
const DONE: ReadonlySet<RolloutTarget['state']> = new Set([
  'active',
  'old-retired',
  'old-destroyed',
  'exempt',
  'superseded',
  'quarantined',
]);
/** Whether the bundle that the rollout brings is not for everybody, as in gateway/store/sqlite/trust-chain.ts. */
const isUnreleased = ({ state, activatedAt }: RolloutRecord): boolean =>
  ['approved', 'distributing', 'aborted'].includes(state) || (state === 'superseded' && activatedAt === undefined);

export class World {
  readonly nodes: ModelNode[] = [];
  keySets: readonly KeySetRecord[] = [];
  /** The latest bundle that was published. */
  trustLatest: TrustVersion;
  trustReleased: TrustVersion;
  readonly devices: DeviceRows;
  /** Key sets by their names: devices of which the same selectors hold share one list, which changes in place. */
  private readonly lists = new Map<string, KeySetRecord[]>();
  private readonly listener: WorldListener;
  private readonly lanes: Lanes;
  /** What a place in a plan depends on, of all devices of the floor, also those of other lanes. */
  private readonly register: Placeable[] = [];
  private readonly byId = new Map<DeviceId, ModelNode>();
  private readonly opened = new Map<RolloutId, OpenRollout>();
  private readonly ended = new Map<RolloutId, RolloutRecord>();

  constructor(trust: TrustVersion, lanes: Lanes, listener: WorldListener) {
    this.trustLatest = trust;
    this.trustReleased = trust;
    this.lanes = lanes;
    this.listener = listener;
    this.devices = new DeviceRows(listener);
  }

  // Devices.

  /** A device of the floor, whichever lane it belongs to, in the order of the floor. */
  enter(device: Placeable): void {
    this.register.push(device);
  }

  /** Those of the whole floor with these numbers. */
  devicesAt(numbers: readonly Float64Array[]): readonly Placeable[] {
    const devices: Placeable[] = [];
    for (const part of numbers) {
      for (const number of part) {
        const device = this.register[number];
        if (device === undefined) throw new CroupierError('device.not-found', `the floor has no device ${number}`);
        devices.push(device);
      }
    }
    return devices;
  }

  /** A device that belongs to this lane. */
  add(node: ModelNode): void {
    this.nodes.push(node);
    this.byId.set(node.state.device.id, node);
    node.state.keySets = this.listFor(node);
    node.state.trustReleased = this.trustReleased;
  }

  node(id: DeviceId): ModelNode {
    const node = this.byId.get(id);
    if (node === undefined) throw new CroupierError('device.not-found', `there is no device ${id}`);
    return node;
  }

  // Rollouts.

  get open(): readonly RolloutRecord[] {
    return [...this.opened.values()].map(({ record }) => record);
  }

  /** Those that something calls for a look at by now; each is told once. */
  *toLookAt(now: number): Generator<RolloutId> {
    for (const open of this.opened.values()) {
      if (open.lookAt > now) continue;
      open.lookAt = Number.POSITIVE_INFINITY;
      yield open.record.id;
    }
  }

  openRollouts(): Iterable<OpenRollout> {
    return this.opened.values();
  }

  openRollout(id: RolloutId): OpenRollout | undefined {
    return this.opened.get(id);
  }

  rollout(id: RolloutId): RolloutRecord | undefined {
    return this.opened.get(id)?.record ?? this.ended.get(id);
  }

  /** Counts of the whole floor: a meeting of the lanes. */
  tallies(id: RolloutId): readonly TargetTally[] {
    return this.opened.get(id)?.tally.rows(this.lanes) ?? [];
  }

  keySetOf(rollout: RolloutRecord): KeySetRecord | undefined {
    return rollout.kind === 'key-version' ? this.keySet(rollout.keySet) : undefined;
  }

  keySet(name: KeySetName): KeySetRecord | undefined {
    return this.keySets.find((keySet) => keySet.name === name);
  }

  planDevices(selector: Selector): readonly PlanDevice[] {
    const chosen = this.nodes.filter(
      ({ state }) => state.device.state.kind !== 'revoked' && selects(selector, state.device),
    );
    return chosen.map(({ state: { device, sync, identity } }) => ({
      id: device.id,
      class: device.class,
      site: device.site,
      labels: device.labels,
      state: device.state,
      connected: sync.connected,
      lastSeenAt: sync.lastSeenAt,
      certificate: identity,
    }));
  }

  addKeySet(keySet: KeySetRecord): void {
    this.keySets = [...this.keySets, keySet].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.lists.clear();
    for (const node of this.nodes) node.state.keySets = this.listFor(node);
  }

  startRollout(
    keySet: KeySetName | undefined,
    at: Date,
    decide: (context: RolloutContext) => StartOutcome,
  ): StartOutcome {
    const context: RolloutContext = {
      keySet: keySet === undefined ? undefined : this.keySet(keySet),
      open: this.open,
      trustLatest: this.trustLatest,
    };
    const outcome = decide(context);
    if (outcome.kind === 'start') this.start(context.keySet, outcome, at);
    return outcome;
  }

  /** Those of the places that belong to this lane's devices become targets. */
  addTargets(id: RolloutId, places: readonly Assignment[], at: Date): void {
    for (const place of places) {
      const node = this.byId.get(place.device);
      const entry = node?.state.rollouts.find((one) => one.rollout.id === id);
      if (node === undefined || entry === undefined || entry.target !== undefined) continue;
      this.devices.put(node, entry, {
        ...place,
        rollout: id,
        state: node.state.device.state.kind === 'quarantined' ? 'quarantined' : 'pending',
        code: undefined,
        reason: undefined,
        deferredUntil: undefined,
        offeredAt: undefined,
        attempts: 0,
        changedAt: at,
        old: 'gone',
        signedOff: undefined,
      });
    }
  }

  advanceRollout(
    id: RolloutId,
    at: Date,
    decide: (
      rollout: RolloutRecord | undefined,
      keySet: KeySetRecord | undefined,
      tallies: readonly TargetTally[],
    ) => RolloutOutcome,
  ): RolloutOutcome {
    const record = this.rollout(id);
    const keySet = record === undefined ? undefined : this.keySetOf(record);
    const outcome = decide(record, keySet, this.tallies(id));
    if (outcome.kind !== 'advance') return outcome;
    const open = this.mustBeOpen(id);
    this.replace(open, outcome.rollout);
    if (keySet !== undefined && outcome.versions.length > 0) this.changeVersions(keySet, outcome.versions, at);
    else if (outcome.due !== 'none') this.raiseTargets(open, outcome.due, at);
    if (outcome.rollout.kind === 'trust-bundle') this.settleTrust();
    return outcome;
  }

  changeTargets(
    id: RolloutId,
    at: Date,
    devices: readonly DeviceId[],
    decide: (rollout: RolloutRecord | undefined, targets: readonly RolloutTarget[]) => TargetsOutcome,
  ): TargetsOutcome {
    const entries = devices.flatMap((device) => {
      const node = this.node(device);
      const entry = node.state.rollouts.find(({ rollout }) => rollout.id === id);
      return entry?.target === undefined ? [] : [{ node, entry, target: entry.target }];
    });
    const outcome = decide(
      this.rollout(id),
      entries.map(({ target }) => target),
    );
    if (outcome.kind !== 'change') return outcome;
    for (const change of outcome.targets) {
      const found = entries.find(({ target }) => target.device === change.device);
      if (found === undefined) continue;
      const { node, entry, target } = found;
      const moved = target.state !== change.state;
      if (change.signedOff !== undefined) node.isGivenUp = true;
      this.devices.put(node, entry, {
        ...target,
        ...change,
        ...(moved ? { deferredUntil: undefined, changedAt: at } : {}),
        ...(moved && change.state === 'pending' ? FROM_THE_START : {}),
      });
      this.devices.raise(node, at);
    }
    return outcome;
  }

  targets(id: RolloutId, of: (target: RolloutTarget, node: ModelNode) => boolean): readonly ModelNode[] {
    const chosen: ModelNode[] = [];
    for (const { node, entry } of this.opened.get(id)?.members ?? [])
      if (entry.target !== undefined && of(entry.target, node)) chosen.push(node);
    return chosen;
  }

  // Inside.

  private start(
    keySet: KeySetRecord | undefined,
    { rollout, version, versions, others, bundle }: Start,
    at: Date,
  ): void {
    for (const other of others) {
      const open = this.opened.get(other.id);
      if (open !== undefined) this.replace(open, other);
    }
    if (bundle !== undefined) this.trustLatest = bundle.version;
    const opened: OpenRollout = {
      record: rollout,
      tally: new Tally(rollout.plan.waves.length),
      members: [],
      lookAt: Number.POSITIVE_INFINITY,
    };
    this.opened.set(rollout.id, opened);
    for (const node of this.nodes) {
      if (!this.isAbout(rollout, node)) continue;
      const entry: RolloutEntry = { rollout, target: undefined, open: opened };
      node.state.rollouts.push(entry);
      opened.members.push({ node, entry });
    }
    if (rollout.kind === 'trust-bundle') this.settleTrust();
    this.listener.rolloutStep(undefined, rollout, []);
    this.listener.moved(opened, 'target');
    if (keySet === undefined) return;
    const grown = version === undefined ? keySet : { ...keySet, versions: [...keySet.versions, version] };
    this.putKeySet({ ...grown, revision: nextRevision(grown, at) });
    this.changeVersions(this.keySet(keySet.name) ?? grown, versions, at);
  }

  /** The latest bundle that no rollout brings to some first, or has ended before it had reached everybody. */
  private settleTrust(): void {
    const unreleased = new Set<number>();
    for (const rollout of [...this.ended.values(), ...this.open]) {
      if (rollout.kind === 'trust-bundle' && isUnreleased(rollout)) unreleased.add(rollout.toVersion);
    }
    let released = this.trustLatest;
    while (unreleased.has(released)) released = TrustVersion.parse(released - 1);
    if (released === this.trustReleased) return;
    this.trustReleased = released;
    for (const { state } of this.nodes) state.trustReleased = released;
  }

  private raiseTargets({ record, members }: OpenRollout, whom: 'unanswered' | 'all', at: Date): void {
    for (const {
      node,
      entry: { target },
    } of members) {
      if (target === undefined) continue;
      if (whom === 'all' && !DONE.has(target.state)) this.devices.raise(node, at);
      if (whom === 'unanswered' && UNANSWERED.includes(target.state) && target.wave <= record.wave)
        this.devices.raise(node, turnOf(record, target, at));
    }
  }

  private isAbout(rollout: RolloutRecord, { state }: ModelNode): boolean {
    switch (rollout.kind) {
      case 'key-version':
        return state.keySets.some(({ name }) => name === rollout.keySet);
      case 'trust-bundle':
        return true;
      case 're-enrolment':
        return selects(rollout.campaign.selector, state.device);
    }
  }

  private changeVersions(keySet: KeySetRecord, changes: readonly KeyVersionChange[], at: Date): void {
    if (changes.length === 0) return;
    const versions = keySet.versions.map((record) => {
      const change = changes.find(({ version }) => version === record.version);
      return change === undefined ? record : changedVersion(record, change, at);
    });
    const changed = { ...keySet, versions, revision: nextRevision(keySet, at) };
    this.putKeySet(changed);
    this.listener.versionsChanged(changed, changes);
    for (const node of this.nodes) if (selects(keySet.selector, node.state.device)) this.devices.raise(node, at);
  }

  private putKeySet(changed: KeySetRecord): void {
    this.keySets = this.keySets.map((keySet) => (keySet.name === changed.name ? changed : keySet));
    for (const list of this.lists.values()) {
      const place = list.findIndex(({ name }) => name === changed.name);
      if (place >= 0) list[place] = changed;
    }
  }

  private listFor({ state }: ModelNode): readonly KeySetRecord[] {
    const chosen = this.keySets.filter(({ selector }) => selects(selector, state.device));
    const names = chosen.map(({ name }) => name).join();
    const list = this.lists.get(names) ?? chosen;
    this.lists.set(names, list);
    return list;
  }

  private replace(open: OpenRollout, after: RolloutRecord): void {
    const before = open.record;
    open.record = after;
    for (const { entry } of open.members) entry.rollout = after;
    this.listener.rolloutStep(before, after, open.tally.rows(this.lanes));
    if (after.finishedAt === undefined) {
      this.listener.moved(open, 'target');
      return;
    }
    this.opened.delete(after.id);
    this.ended.set(after.id, after);
    for (const { node, entry } of open.members) {
      node.state.rollouts = node.state.rollouts.filter((other) => other !== entry);
    }
  }

  private mustBeOpen(id: RolloutId): OpenRollout {
    const open = this.opened.get(id);
    if (open === undefined) throw new CroupierError('rollout.not-found', `there is no open rollout ${id}`);
    return open;
  }
}

/** As in gateway/store/sqlite/key-sets.ts: it follows the clock, so that a restored gateway still counts upwards. */
const nextRevision = ({ revision }: KeySetRecord, at: Date): number => Math.max(revision + 1, at.getTime());

/** With a rate, pending targets of the latest wave come one after the other. */
function turnOf({ plan, wave, waveOpenedAt }: RolloutRecord, target: RolloutTarget, at: Date): Date {
  const { rate } = plan;
  if (rate === null || waveOpenedAt === undefined || target.wave < wave || target.state !== 'pending') return at;
  const turn = waveOpenedAt.getTime() + Math.floor(target.position / rate.targets) * rate.perMs;
  return turn > at.getTime() ? new Date(turn) : at;
}
