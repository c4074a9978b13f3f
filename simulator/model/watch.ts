/**
 * What must hold at every moment (D§11): looked at with the devices' own word, which the gateway does not have. Named by
 * invariant; the first ones are kept in words.
 */
import { z } from 'zod';
import type { HeldKeyring } from '#agent/state/state.ts';
import type { KeySetRecord, KeyVersionRecord } from '#gateway/ports/store/records.ts';
import type { KeyVersionChange } from '#gateway/ports/store/rollouts.ts';
import { selects } from '#schema/policy.ts';
import type { ModelNode } from './node.ts';
import type { World } from './world.ts';

const Invariant = z.enum(['I3', 'I5', 'I6', 'I9', 'I11', 'honest']);
type Invariant = z.infer<typeof Invariant>;

export const Violation = z.strictObject({ invariant: Invariant, at: z.string(), what: z.string() });
export type Violation = z.infer<typeof Violation>;

/** So many are told in words. */
export const KEPT = 20;

/** What a device showed last; it never goes back. */
interface Shown {
  trustVersion: number;
  lastSeq: number;
  keyrings: readonly HeldKeyring[];
}

export class Watch {
  readonly kept: Violation[] = [];
  violations = 0;
  checks = 0;
  private readonly shown: Shown[] = [];
  private readonly world: () => World;
  private readonly now: () => number;

  constructor(world: () => World, now: () => number) {
    this.world = world;
    this.now = now;
  }

  fail(invariant: Invariant, what: string): void {
    this.violations += 1;
    if (this.kept.length < KEPT) this.kept.push({ invariant, at: new Date(this.now()).toISOString(), what });
  }

  /** After everything that a device did. */
  deviceChanged(node: ModelNode): void {
    const { device, index } = node;
    const before = (this.shown[index] ??= { trustVersion: device.trustVersion, lastSeq: 0, keyrings: [] });
    this.checks += 1;
    if (device.trustVersion < before.trustVersion)
      this.fail('I5', `${device.id} went from trust bundle ${before.trustVersion} to ${device.trustVersion}`);
    if (device.lastSeq < before.lastSeq) this.fail('I5', `${device.id} went back to update ${device.lastSeq}`);
    before.trustVersion = device.trustVersion;
    before.lastSeq = device.lastSeq;
    if (device.keyrings === before.keyrings) return;
    for (const ring of device.keyrings) {
      const was = before.keyrings.find(({ keySet }) => keySet === ring.keySet);
      if (was !== ring) this.keyringChanged(node, was, ring);
    }
    before.keyrings = device.keyrings;
  }

  /** Before the gateway's word reaches any device. */
  versionsChanged(keySet: KeySetRecord, changes: readonly KeyVersionChange[]): void {
    for (const { version, state, retired } of changes) {
      const record = keySet.versions.find((entry) => entry.version === version);
      if (record === undefined) continue;
      if (state === 'active') this.activates(keySet, record);
      else if (retired && record.activatedAt !== undefined) this.takesAway(keySet, record);
    }
  }

  /** I9. */
  sent(node: ModelNode): void {
    const { state } = node.state.device;
    if (state.kind !== 'enrolled') this.fail('I9', `${node.device.id} is ${state.kind} and gets an update`);
  }

  private keyringChanged({ device, isGivenUp }: ModelNode, before: HeldKeyring | undefined, after: HeldKeyring): void {
    const { keySet, revision, active, versions, destroyed } = after;
    const name = `${device.id}: ${keySet}`;
    if (before !== undefined && revision < before.revision)
      this.fail('I5', `${name} went back to revision ${revision}`);
    for (const { version } of before?.destroyed ?? []) {
      if (!destroyed.some((one) => one.version === version))
        this.fail('I5', `${name}/${version} was destroyed and is forgotten`);
      if (versions.some((one) => one.version === version))
        this.fail('I5', `${name}/${version} was destroyed and is back`);
    }
    if (active === null || active === before?.active) return;
    const record = this.world()
      .keySet(keySet)
      ?.versions.find(({ version }) => version === active);
    if (record?.activatedAt === undefined) return this.fail('I6', `${name}/${active} is used before its activation`);
    const isGone = record.retiredAt !== undefined || record.state === 'destroyed';
    if (isGone && !isGivenUp) this.fail('I11', `${name}/${active} is taken into use after its retirement`);
  }

  /** I6: what devices will use now, every service accepts. */
  private activates(keySet: KeySetRecord, { version }: KeyVersionRecord): void {
    for (const node of this.world().nodes) {
      const { state, device } = node;
      if (state.device.class !== 'service' || !selects(keySet.selector, state.device)) continue;
      if (state.device.state.kind !== 'enrolled' || node.isGivenUp || isLeftOut(node, keySet, version)) continue;
      const ring = device.keyrings.find((held) => held.keySet === keySet.name);
      const accepts = ring?.versions.some((held) => held.version === version && held.state !== 'retired') ?? false;
      if (!accepts) this.fail('I6', `${keySet.name}/${version} is activated and ${device.id} does not accept it`);
    }
  }

  /** I11: what is retired or destroyed, nobody uses, nor will use by what is on its way to it. */
  private takesAway(keySet: KeySetRecord, { version, state }: KeyVersionRecord): void {
    for (const node of this.world().nodes) {
      const { device, line } = node;
      if (node.isGivenUp || node.state.device.state.kind !== 'enrolled' || isSignedOff(node, keySet, version)) continue;
      const uses = device.keyrings.some((ring) => ring.keySet === keySet.name && ring.active === version);
      const will = line.down.some(({ update }) =>
        update.keyrings.some((ring) => ring.keySet === keySet.name && ring.active === version),
      );
      if (uses || will)
        this.fail(
          'I11',
          `${keySet.name}/${version} is ${state} while ${device.id} ${uses ? 'uses' : 'is told to use'} it`,
        );
    }
  }
}

/** People have exempted the service from this change. */
function isLeftOut({ state }: ModelNode, keySet: KeySetRecord, version: number): boolean {
  return state.rollouts.some(
    ({ rollout, target }) =>
      rollout.kind === 'key-version' &&
      rollout.keySet === keySet.name &&
      rollout.toVersion === version &&
      (target?.state === 'exempt' || target?.state === 'quarantined' || target?.state === 'superseded'),
  );
}

/** People have declared that nothing waits for it. */
function isSignedOff({ state }: ModelNode, keySet: KeySetRecord, version: number): boolean {
  return state.rollouts.some(
    ({ rollout, target }) =>
      rollout.kind === 'key-version' &&
      rollout.keySet === keySet.name &&
      rollout.toVersion > version &&
      target?.signedOff !== undefined,
  );
}
