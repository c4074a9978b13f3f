/** When key sets have to be rotated (SP 800-57 part 1, 5.3: the originator usage period). */
import type { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { KeySetPolicy, Policy } from '#schema/policy.ts';
import { DEFAULT_PLAN } from '#schema/rollout-plan.ts';
import type { KeySetRecord, RolloutRecord } from '#gateway/ports/store/records.ts';

export interface RotationStanding {
  readonly keySet: KeySetName;
  /** Version that is active; undefined when none is. */
  readonly version: KeyVersionNumber | undefined;
  readonly state: 'in-period' | 'due' | 'overdue' | 'under-way';
  /** Undefined when no version is active. */
  readonly dueAt: Date | undefined;
  readonly endsAt: Date | undefined;
  readonly start: KeySetPolicy['rotation']['start'];
  readonly plan: string;
}

const LEAD = 14 * 86_400_000;

/** How long before its end a cryptoperiod has to be seen to: as written, or 14 days, but at most a quarter of it. */
export function rotationLead(cryptoperiodMs: number, written: number | undefined): number {
  return written ?? Math.min(LEAD, cryptoperiodMs / 4);
}

const isUnderWay = (rollout: RolloutRecord, keySet: KeySetName, active: KeyVersionNumber | undefined): boolean =>
  rollout.kind === 'key-version' &&
  rollout.keySet === keySet &&
  rollout.toVersion > (active ?? 0) &&
  (rollout.state === 'approved' || rollout.state === 'distributing' || rollout.state === 'ready');

/**
 * Where each key set stands in its cryptoperiod: it ends so long after the activation of the active version, and the
 * rotation is due by the lead before. Under way: a rollout of a newer version is open and has not activated it. A key
 * set that has no active version and gets none is overdue.
 */
export function rotationsDue(
  keySets: readonly KeySetRecord[],
  policy: Policy,
  openRollouts: readonly RolloutRecord[],
  now: Date,
): readonly RotationStanding[] {
  return keySets.map((keySet) => {
    const active = keySet.versions.findLast(({ state }) => state === 'active');
    const rotation = Object.hasOwn(policy.keySets, keySet.name) ? policy.keySets[keySet.name]?.rotation : undefined;
    const since = active?.activatedAt?.getTime();
    const ends = since === undefined ? undefined : since + keySet.cryptoperiodMs;
    const due = ends === undefined ? undefined : ends - rotationLead(keySet.cryptoperiodMs, rotation?.lead);
    const standing = (): RotationStanding['state'] => {
      if (openRollouts.some((rollout) => isUnderWay(rollout, keySet.name, active?.version))) return 'under-way';
      if (ends === undefined || due === undefined || ends <= now.getTime()) return 'overdue';
      return due <= now.getTime() ? 'due' : 'in-period';
    };
    return {
      keySet: keySet.name,
      version: active?.version,
      state: standing(),
      dueAt: due === undefined ? undefined : new Date(due),
      endsAt: ends === undefined ? undefined : new Date(ends),
      start: rotation?.start ?? 'propose',
      plan: rotation?.plan ?? DEFAULT_PLAN,
    };
  });
}
