/**
 * What a device should hold now, and how that differs from what it proved to hold (D§1.1). Pure.
 *
 * Keyrings jump: the answer depends on the present alone, never on what the device missed. Rollouts only decide when a
 * device may be given what it can still do without; what it cannot do without it gets at once.
 */
import type { KeySetName, KeyVersionNumber, TrustVersion } from '#schema/ids.ts';
import type { DeliveryState, PlannedKeyring, PlannedUpdate } from '#gateway/ports/store/delivery.ts';
import type {
  Campaign,
  CertificateRecord,
  DeviceKeyVersion,
  KeySetRecord,
  KeyVersionRecord,
  KeyVersionRollout,
  RolloutRecord,
  RolloutTarget,
} from '#gateway/ports/store/records.ts';
import { exposure } from '#gateway/rollout/exposure.ts';
import type { SiteWindows } from '#gateway/rollout/window.ts';

/** When a device is looked at: windows and rates open with time. */
export interface Moment {
  readonly now: Date;
  readonly windows: SiteWindows;
}

/** A device among the rollouts. */
export type Exposed = Pick<DeliveryState, 'device' | 'rollouts'>;

export interface DesiredKeyring {
  readonly active: KeyVersionNumber | null;
  readonly accept: readonly KeyVersionNumber[];
  /** Versions that no device may hold any more. */
  readonly gone: readonly KeyVersionNumber[];
  /** When the answer changes by itself, if it does. */
  readonly opensAt: Date | undefined;
}

/** The earlier of two times, where there is one. */
export function sooner(one: Date | undefined, other: Date | undefined): Date | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one < other ? one : other;
}

type Held = readonly DeviceKeyVersion[];

const isHeld = (state: DeviceKeyVersion['state']): boolean =>
  state === 'stored' || state === 'active' || state === 'retired';

const isCarriedBy =
  (version: KeyVersionRecord) =>
  (
    entry: DeliveryState['rollouts'][number],
  ): entry is { rollout: KeyVersionRollout; target: RolloutTarget | undefined } =>
    entry.rollout.kind === 'key-version' &&
    entry.rollout.keySet === version.keySet &&
    entry.rollout.toVersion === version.version;

type Turn = { readonly open: true } | { readonly open: false; readonly at: Date | undefined };

/** Whether a version that is not active yet is being given to this device. */
function turnToStore(version: KeyVersionRecord, { device, rollouts }: Exposed, moment: Moment): Turn {
  const entry = rollouts.find(isCarriedBy(version));
  if (entry === undefined) return { open: false, at: undefined };
  return exposure(entry.rollout, entry.target, device, moment.windows, moment.now);
}

/** Whether a device may be told to use the active version, as long as what it uses is accepted still. */
function turnToUse(version: KeyVersionRecord, { device, rollouts }: Exposed, moment: Moment): Turn {
  const entry = rollouts.find(isCarriedBy(version));
  if (entry === undefined) return { open: true };
  const { rollout, target } = entry;
  if (target?.state === 'exempt') return { open: false, at: undefined };
  const isBegun = target !== undefined && target.state !== 'pending';
  if (rollout.pause !== undefined && !isBegun) return { open: false, at: undefined };
  if (rollout.plan.windows === 'ignore') return { open: true };
  const window = moment.windows.at(device.site, moment.now);
  return window.open ? { open: true } : { open: false, at: window.opensAt };
}

/** Whether the gateway can give the version to a device that does not hold it. */
const isDeliverable = ({ state, wrapped }: KeyVersionRecord): boolean =>
  wrapped !== undefined && state !== 'compromised';

const inUse = (held: Held): KeyVersionNumber | undefined => held.find(({ state }) => state === 'active')?.version;

/**
 * Whether the device may be told to accept the version. It never goes back: what it has destroyed it refuses, and below
 * the version it uses it is given nothing anew. Only after a restoration of the gateway would that be asked of it.
 */
function canHave(record: KeyVersionRecord, held: Held): boolean {
  const state = held.find(({ version }) => version === record.version)?.state;
  const isBehind = record.version < (inUse(held) ?? 0);
  if (state === 'stored' || state === 'active') return true;
  if (state === 'retired') return !isBehind;
  return state !== 'destroyed' && !isBehind && isDeliverable(record);
}

/** The version that a device uses and may go on using, while it need not use the active one yet. */
function stillInUse(keySet: KeySetRecord, held: Held): KeyVersionNumber | undefined {
  const using = inUse(held);
  const record = keySet.versions.find(({ version }) => version === using);
  return record?.state === 'deactivated' && record.retiredAt === undefined ? record.version : undefined;
}

export function desiredKeyring(keySet: KeySetRecord, held: Held, exposed: Exposed, moment: Moment): DesiredKeyring {
  let active: KeyVersionNumber | null = null;
  let opensAt: Date | undefined;
  const accept: KeyVersionNumber[] = [];
  const gone: KeyVersionNumber[] = [];
  const has = (version: KeyVersionNumber): boolean => held.some((row) => row.version === version && isHeld(row.state));
  for (const record of keySet.versions) {
    const { version } = record;
    const mayHave = canHave(record, held);
    switch (record.state) {
      case 'active': {
        const before = stillInUse(keySet, held);
        if (!mayHave || (before !== undefined && before > version)) {
          active = before ?? null;
          if (mayHave) accept.push(version);
          break;
        }
        const turn: Turn = before === undefined ? { open: true } : turnToUse(record, exposed, moment);
        active = turn.open ? version : (before ?? version);
        if (!turn.open) opensAt = sooner(opensAt, turn.at);
        if (turn.open || has(version)) accept.push(version);
        break;
      }
      case 'deactivated':
        if (record.retiredAt === undefined && mayHave) accept.push(version);
        break;
      case 'pre-activation': {
        const turn = turnToStore(record, exposed, moment);
        if (turn.open && mayHave) accept.push(version);
        else if (!turn.open) opensAt = sooner(opensAt, turn.at);
        break;
      }
      case 'suspended':
        break;
      case 'compromised':
        if (record.wrapped === undefined) gone.push(version);
        else if (record.retiredAt === undefined && has(version)) accept.push(version);
        break;
      case 'destroyed':
        gone.push(version);
        break;
    }
  }
  return { active, accept, gone, opensAt };
}

/** The keyring to send, or undefined when the device holds exactly what it should. */
export function keyringDifference(
  keySet: KeySetRecord,
  held: Held,
  desired: Omit<DesiredKeyring, 'opensAt'>,
): PlannedKeyring | undefined {
  const stateOf = new Map(held.map((row) => [row.version, row.state]));
  const deliver = desired.accept.filter((version) => {
    const state = stateOf.get(version);
    return state === undefined || state === 'offered';
  });
  const destroy = desired.gone.filter((version) => {
    const state = stateOf.get(version);
    return state !== undefined && state !== 'destroyed';
  });
  const toRetire = held.some(
    (row) =>
      (row.state === 'stored' || row.state === 'active') &&
      !desired.accept.includes(row.version) &&
      !desired.gone.includes(row.version),
  );
  // A version that the device has destroyed cannot be brought back: it waits for the next one.
  const state = desired.active === null ? undefined : stateOf.get(desired.active);
  const notActivated = desired.active !== null && state !== 'active' && state !== 'destroyed';
  const toDeactivate = held.some((row) => row.state === 'active' && row.version !== desired.active);
  if (deliver.length === 0 && destroy.length === 0 && !toRetire && !notActivated && !toDeactivate) return undefined;
  return { keySet, revision: keySet.revision, active: desired.active, accept: desired.accept, destroy, deliver };
}

export interface KeyringDifferences {
  readonly keyrings: readonly PlannedKeyring[];
  readonly opensAt: Date | undefined;
}

/** The row of a version, if there is one. */
export function rowOf(rows: Held, keySet: KeySetName, version: KeyVersionNumber): DeviceKeyVersion | undefined {
  for (const row of rows) if (row.version === version && row.keySet === keySet) return row;
  return undefined;
}

const isRetired = ({ state, retiredAt }: KeyVersionRecord): boolean =>
  state === 'deactivated' && retiredAt !== undefined;

/** What a version asks of a device that holds it in this state, or does not: nothing, for certain. */
function asksNothing(record: KeyVersionRecord, state: DeviceKeyVersion['state'] | undefined): boolean {
  switch (state) {
    case undefined:
      return record.state === 'destroyed' || isRetired(record);
    case 'active':
      return record.state === 'active';
    case 'stored':
      return record.state === 'deactivated' && record.retiredAt === undefined;
    case 'retired':
      return isRetired(record);
    case 'destroyed':
      return record.state === 'destroyed' || isRetired(record);
    case 'offered':
      return false;
  }
}

/**
 * Whether the device plainly holds what it should of a key set of which nothing is on its way: so do most devices at most
 * times, and it is seen without making anything.
 */
function isAtRest({ name, versions }: KeySetRecord, rows: Held): boolean {
  let place = rows.findIndex(({ keySet }) => keySet === name);
  if (place < 0) place = rows.length;
  // Versions and rows both ascend.
  for (const record of versions) {
    const row = rows[place];
    const isIts = row !== undefined && row.version === record.version && row.keySet === name;
    if (!asksNothing(record, isIts ? row.state : undefined)) return false;
    if (isIts) place += 1;
  }
  // A row of a version that the key set does not have is for the longer way.
  return rows[place]?.keySet !== name;
}

/** All keyrings that differ, of a device as the store knows it. */
export function keyringDifferences(
  state: Pick<DeliveryState, 'device' | 'keySets' | 'rollouts' | 'versions'>,
  moment: Moment,
): KeyringDifferences {
  const keyrings: PlannedKeyring[] = [];
  let opensAt: Date | undefined;
  for (const keySet of state.keySets) {
    if (isAtRest(keySet, state.versions)) continue;
    const held = state.versions.filter((row) => row.keySet === keySet.name);
    const desired = desiredKeyring(keySet, held, state, moment);
    opensAt = sooner(opensAt, desired.opensAt);
    const difference = keyringDifference(keySet, held, desired);
    if (difference !== undefined) keyrings.push(difference);
  }
  return { keyrings, opensAt };
}

/** The trust bundle that a device should have reached: the released one, or a later one that is being rolled out to it. */
export function desiredTrust(
  state: Pick<DeliveryState, 'device' | 'rollouts' | 'trustReleased'>,
  moment: Moment,
): { readonly version: TrustVersion; readonly opensAt: Date | undefined } {
  let version = state.trustReleased;
  let opensAt: Date | undefined;
  for (const { rollout, target } of state.rollouts) {
    if (rollout.kind !== 'trust-bundle' || rollout.toVersion <= version) continue;
    const turn = exposure(rollout, target, state.device, moment.windows, moment.now);
    if (turn.open) version = rollout.toVersion;
    else opensAt = sooner(opensAt, turn.at);
  }
  return { version, opensAt };
}

/** Whether a certificate is one of those that a campaign replaces. */
export function isReplacedBy(
  campaign: Campaign,
  certificate: Pick<CertificateRecord, 'issuer' | 'createdAt'>,
): boolean {
  return certificate.createdAt < campaign.before && (campaign.issuer ?? certificate.issuer) === certificate.issuer;
}

/** A target that has agreed to renew is left alone until then. */
export function renewsBy(rollout: RolloutRecord, target: RolloutTarget): Date | undefined {
  return target.offeredAt === undefined ? undefined : new Date(target.offeredAt.getTime() + rollout.plan.timeoutMs);
}

/** A certificate this far into its life is asked for by the gateway too, in case the agent's own timer failed. */
const RENEW_REMINDER = 0.9;

export interface DesiredRenewal {
  readonly renew: PlannedUpdate['renew'];
  readonly opensAt: Date | undefined;
}

/** Whether the device is to have another certificate, and why. */
export function desiredRenewal(
  { device, identity, rollouts }: Pick<DeliveryState, 'device' | 'identity' | 'rollouts'>,
  { now, windows }: Moment,
): DesiredRenewal {
  if (identity === undefined) return { renew: undefined, opensAt: undefined };
  let opensAt: Date | undefined;
  for (const { rollout, target } of rollouts) {
    if (rollout.kind !== 're-enrolment' || !isReplacedBy(rollout.campaign, identity)) continue;
    const turn = exposure(rollout, target, device, windows, now);
    if (!turn.open) {
      opensAt = sooner(opensAt, turn.at);
      continue;
    }
    const agreed = target?.state === 'stored' ? renewsBy(rollout, target) : undefined;
    if (agreed !== undefined && agreed > now) {
      opensAt = sooner(opensAt, agreed);
      continue;
    }
    // Half of what the plan gives it: who begins late in that time has the other half to get through.
    const by = new Date(now.getTime() + rollout.plan.timeoutMs / 2);
    return { renew: { by, reason: rollout.campaign.reason }, opensAt };
  }
  const from = identity.notBefore.getTime();
  const to = identity.notAfter.getTime();
  const renew =
    now.getTime() > from + (to - from) * RENEW_REMINDER
      ? ({ by: identity.notAfter, reason: 'expiring' } as const)
      : undefined;
  return { renew, opensAt };
}

export { isHeld };
