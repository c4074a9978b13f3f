/** A small floor of the model that a story is played on, and what must be true of it. */
import { Account } from '#simulator/model/account.ts';
import type { Decisions } from '#simulator/model/decisions.ts';
import type { Conduct } from '#simulator/model/device.ts';
import { Engine } from '#simulator/model/engine.ts';
import { populate } from '#simulator/model/floor.ts';
import { FIXED, type Departure } from '#simulator/model/habits.ts';
import { newKeySet } from '#simulator/model/key-versions.ts';
import type { ModelNode } from '#simulator/model/node.ts';
import { People } from '#simulator/model/people.ts';
import { oldVersionsOf } from '#simulator/model/tally.ts';
import type { RolloutRecord, TargetTally } from '#gateway/ports/store/records.ts';
import { KeySetName, Realm, TrustVersion, type DeviceId, type KeyVersionNumber, type RolloutId } from '#schema/ids.ts';
import { Policy } from '#schema/policy.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const WALLET = KeySetName.parse('wallet-kek');
export const METER = KeySetName.parse('meter-mac');
export const PLANS = ['default', 'waves', 'windowed', 'slow'] as const;
export type PlanName = (typeof PLANS)[number];

const POLICY = Policy.parse({
  version: 1,
  classes: Object.fromEntries(
    ['egm', 'kiosk', 'pos', 'service'].map((name) => [
      name,
      { keyTypes: ['EC-P256'], validity: '365d', grace: '365d' },
    ]),
  ),
  keySets: {
    [WALLET]: { algorithm: 'AES-256', use: 'wrap', scope: 'shared' },
    [METER]: { algorithm: 'HMAC-SHA256', use: 'mac', scope: 'per-device', selector: { class: ['egm', 'pos'] } },
  },
  rollouts: {
    plans: {
      waves: {
        canary: { count: 1, soak: '10m' },
        waves: [{ percent: 40, soak: '1h' }, { rest: true }],
        errors: 0.3,
        success: 0.6,
        windows: 'ignore',
        stragglers: { after: '2d' },
      },
      windowed: { waves: [{ percent: 50 }, { rest: true }], errors: 0.5, quorum: 0.8 },
      slow: {
        rate: { targets: 1, per: '2m' },
        timeout: '5m',
        retries: 1,
        windows: 'ignore',
        stragglers: { action: 'wait' },
      },
    },
    windows: { riverside: { cron: '0 3 * * *', duration: '2h' } },
  },
});

const START = new Date('2027-03-01T00:00:00.000Z');

export interface FloorShape {
  readonly seed: number;
  readonly egm: number;
  readonly pos: number;
  readonly service: number;
  readonly conducts: readonly Conduct[];
}

export class ModelFloor {
  readonly engine: Engine;
  readonly account: Account;
  readonly people: People;
  /** Devices that operators have left out of something: what they are to have later on, only their own reports ask for. */
  private readonly exempted = new Set<DeviceId>();

  constructor({ seed, egm, pos, service, conducts }: FloorShape, decisions: Partial<Decisions> = {}) {
    const trust = TrustVersion.parse(1);
    const realm = Realm.parse('model');
    this.engine = new Engine({ realm, policy: POLICY, start: START, trust, decisions });
    this.account = new Account(this.engine);
    this.engine.listener = this.account;
    this.people = new People(this.engine);
    const { world } = this.engine;
    for (const name of [WALLET, METER]) {
      const terms = POLICY.keySets[name];
      if (terms !== undefined) world.addKeySet(newKeySet(name, terms, START));
    }
    let next = 0;
    populate(
      { realm, policy: POLICY, world, start: START, trust },
      {
        seed: `story ${seed}`,
        composition: { egm, kiosk: 0, pos, service },
        character: (plan) => ({
          habit: FIXED,
          conduct:
            plan.class === 'service' ? 'ordinary' : (conducts[next++ % Math.max(1, conducts.length)] ?? 'ordinary'),
        }),
      },
    );
    for (const node of world.nodes) this.engine.switchOn(node);
    this.wait(5 * MINUTE);
  }

  wait(ms: number): void {
    const end = this.engine.now + ms;
    // In parts, so that what must always hold is looked at on the way.
    for (let part = 1; part <= 4; part += 1) {
      this.engine.runUntil(end - (ms * (4 - part)) / 4);
      this.countsAgree();
    }
  }

  node(index: number): ModelNode {
    const { nodes } = this.engine.world;
    const node = nodes[index % nodes.length];
    if (node === undefined) throw new Error('the floor is empty');
    return node;
  }

  rollout(index: number): RolloutRecord | undefined {
    const { open } = this.engine.world;
    return open[index % Math.max(1, open.length)];
  }

  off(index: number, how: Departure): void {
    this.engine.depart(this.node(index), how);
  }

  on(index: number): void {
    this.engine.switchOn(this.node(index));
  }

  lose(share: number): void {
    for (const node of this.engine.world.nodes) node.habit = { ...FIXED, loss: share };
  }

  /** A version of the key set that is not destroyed. */
  version(keySet: KeySetName, index: number): KeyVersionNumber | undefined {
    const versions = (this.engine.world.keySet(keySet)?.versions ?? []).filter(({ state }) => state !== 'destroyed');
    return versions[index % Math.max(1, versions.length)]?.version;
  }

  /** Everybody is back and well, nothing is lost any more, and operators clear away what stands in the way. */
  comeToRest(): void {
    const { engine, people } = this;
    this.lose(0);
    for (const node of engine.world.nodes) {
      // What it was sent while it was out of order is not held against the gateway.
      if (node.device.conduct !== 'ordinary') node.catchup.since = undefined;
      node.device.conduct = 'ordinary';
      if (node.state.device.state.kind === 'quarantined') engine.release(node);
      engine.switchOn(node);
    }
    for (let round = 0; round < 6; round += 1) {
      for (const { id } of engine.world.open) {
        const failed = this.devices(id, ['refused', 'stalled', 'overdue']);
        if (failed.length > 0) people.retry(id, failed);
        people.resume(id);
      }
      this.wait(2 * DAY);
      for (const id of this.exempted) engine.reportRegularly(engine.world.node(id));
    }
    this.wait(HOUR);
  }

  exempt(id: RolloutId, index: number): void {
    const { device } = this.node(index);
    if (this.people.exempt(id, [device.id]) === 'done') this.exempted.add(device.id);
  }

  devices(id: RolloutId, states: readonly string[]): readonly DeviceId[] {
    return this.engine.world.targets(id, ({ state }) => states.includes(state)).map(({ device }) => device.id);
  }

  /** The counts that decisions look at are those of the targets (what the database's triggers promise). */
  countsAgree(): void {
    const { world } = this.engine;
    for (const rollout of world.open) {
      const counted = new Map<string, number>();
      for (const { state } of world.targets(rollout.id, () => true)) {
        const target = state.rollouts.find((entry) => entry.rollout.id === rollout.id)?.target;
        if (target === undefined) continue;
        const old = oldVersionsOf(rollout, target.signedOff, state.versions);
        const row = { ...target, online: state.sync.connected, deferred: target.deferredUntil !== undefined, old };
        counted.set(keyOf(row), (counted.get(keyOf(row)) ?? 0) + 1);
      }
      for (const row of world.tallies(rollout.id)) {
        if (counted.get(keyOf(row)) !== row.targets) this.fail(`tally ${keyOf(row)} is ${row.targets}`);
        counted.delete(keyOf(row));
      }
      if (counted.size > 0) this.fail(`no tally for ${[...counted.keys()].join()}`);
    }
  }

  throwIfBroken(): void {
    const { kept } = this.account.watch;
    const [first] = kept;
    if (first !== undefined)
      throw new Error(
        kept
          .slice(0, 3)
          .map(({ invariant, what }) => `${invariant}: ${what}`)
          .join('\n'),
      );
  }

  /** Both sides know the same, and it is what the gateway wants. */
  convergence(): readonly string[] {
    const faults: string[] = [];
    const { world } = this.engine;
    for (const node of world.nodes) faults.push(...differences(node).map((what) => `${node.device.id}: ${what}`));
    for (const { id, state, pause } of world.open) {
      if (['approved', 'distributing', 'ready'].includes(state))
        faults.push(`rollout ${id} is still ${state}${pause === undefined ? '' : `, paused: ${pause.reason}`}`);
    }
    return faults;
  }

  private fail(what: string): void {
    this.account.watch.fail('honest', what);
  }
}

type Counted = Pick<TargetTally, 'wave' | 'service' | 'state' | 'online' | 'deferred' | 'old'>;

const keyOf = ({ wave, service, state, online, deferred, old }: Counted): string =>
  [wave, service, state, online, deferred, old].join('/');

/** By the device's own state and the records alone: none of the functions that decide deliveries is asked. */
function differences({ device, state }: ModelNode): string[] {
  const faults: string[] = [];
  if (!state.sync.connected) faults.push('is not connected');
  if (state.sync.attempts > 0) faults.push(`is asked for the ${state.sync.attempts}th time`);
  if (device.trustVersion < state.trustReleased)
    faults.push(`holds trust bundle ${device.trustVersion} of ${state.trustReleased}`);
  for (const keySet of state.keySets) {
    const ring = device.keyrings.find((held) => held.keySet === keySet.name);
    const active = keySet.versions.find((version) => version.state === 'active')?.version;
    const isExempt = state.rollouts.some(
      ({ rollout, target }) =>
        rollout.kind === 'key-version' && rollout.keySet === keySet.name && target?.state === 'exempt',
    );
    if (ring?.active !== active && !isExempt)
      faults.push(`uses ${keySet.name} ${ring?.active ?? 'none'}, not ${active}`);
    for (const { version, state: held } of ring?.versions ?? []) {
      const record = keySet.versions.find((entry) => entry.version === version);
      if (record?.wrapped === undefined) faults.push(`still holds ${keySet.name} ${version}`);
      const row = state.versions.find((entry) => entry.keySet === keySet.name && entry.version === version);
      if (row?.state !== held) faults.push(`${keySet.name} ${version} is ${held}, on record ${row?.state}`);
    }
  }
  return faults;
}
