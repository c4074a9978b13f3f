import type { KeySetName, KeyVersionNumber, RolloutId } from '#schema/ids.ts';
import type { CroupierError } from '#schema/errors.ts';
import type {
  Audited,
  DeviceRecord,
  KeySetRecord,
  KeyVersionRecord,
  KeyVersionState,
  RolloutRecord,
  RolloutState,
  RolloutTarget,
  TargetState,
} from './records.ts';

export interface KeyVersionChange {
  readonly version: KeyVersionNumber;
  readonly state: KeyVersionState;
  readonly retired: boolean;
  /** Forget the wrapped bytes. */
  readonly erase: boolean;
}

export type RotationOutcome =
  | ({
      readonly kind: 'start';
      readonly version: KeyVersionRecord;
      readonly rollout: RolloutRecord;
      readonly target: (device: DeviceRecord) => { readonly wave: number; readonly state: TargetState } | undefined;
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

/** Counts that the rollout's decision looks at. */
export interface RolloutProgress {
  readonly byState: Readonly<Partial<Record<TargetState, number>>>;
  readonly total: number;
  /** Targets that are connected, not settled yet. */
  readonly reachableUnstored: number;
  /** Targets of class `service`, connected or not, that have not stored the version. */
  readonly servicesUnstored: number;
  /** Targets not connected that have not reached the rollout's present goal. */
  readonly offlineBehind: number;
  /**
   * Devices, in the rollout or not, that may have the old version in use: they were given it, or proved to hold it
   * stored or active, and have not proved to use a newer one.
   */
  readonly oldInUse: number;
  /** Devices that still hold the old version's bytes. */
  readonly oldHeld: number;
}

export type RolloutOutcome =
  | { readonly kind: 'stay' }
  | ({
      readonly kind: 'advance';
      readonly state: RolloutState;
      readonly versions: readonly KeyVersionChange[];
      readonly finished: boolean;
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface RolloutDetail {
  readonly rollout: RolloutRecord;
  readonly progress: RolloutProgress;
}

export interface KeyVersionStore {
  keySets(): Promise<readonly KeySetRecord[]>;
  keySet(name: KeySetName): Promise<KeySetRecord | undefined>;
  /** Adds a version and its rollout with all targets, and raises their due marks. */
  startRotation(
    keySet: KeySetName,
    at: Date,
    decide: (keySet: KeySetRecord | undefined, open: readonly RolloutRecord[]) => RotationOutcome,
  ): Promise<RotationOutcome>;
  /** Moves one rollout; changes of key versions raise the due marks of the key set's devices. */
  advanceRollout(
    id: RolloutId,
    at: Date,
    decide: (
      rollout: RolloutRecord | undefined,
      keySet: KeySetRecord | undefined,
      progress: RolloutProgress,
    ) => RolloutOutcome,
  ): Promise<RolloutOutcome>;
  rollouts(open: boolean | undefined, limit: number): Promise<readonly RolloutRecord[]>;
  rollout(id: RolloutId): Promise<RolloutDetail | undefined>;
  rolloutTargets(
    id: RolloutId,
    filter: {
      readonly states: readonly TargetState[] | undefined;
      readonly after: string | undefined;
      readonly limit: number;
    },
  ): Promise<readonly (RolloutTarget & { readonly connected: boolean; readonly lastSeenAt: Date | undefined })[]>;
}
