import type { ApprovalId, DeviceId, KeyVersionNumber, RolloutId, TrustVersion } from '#schema/ids.ts';
import type { CroupierError } from '#schema/errors.ts';
import type { RolloutStepName, StepDetails, TargetWordName } from '#schema/rollout-history.ts';
import type { Selector } from '#schema/rollout-plan.ts';
import type {
  Audited,
  CertificateRecord,
  DeviceRecord,
  KeySetRecord,
  KeyVersionRecord,
  KeyVersionState,
  OldVersionState,
  RolloutRecord,
  RolloutTarget,
  TargetState,
  TargetTally,
  TrustBundleRecord,
} from './records.ts';

export interface KeyVersionChange {
  readonly version: KeyVersionNumber;
  readonly state: KeyVersionState;
  readonly retired: boolean;
  /** Forget the wrapped bytes. */
  readonly erase: boolean;
  /** Sets `compromisedAt`, whatever the state: an active version stays active until its successor is. */
  readonly compromised?: boolean;
}

/** What the beginning of a rollout is decided on. */
export interface RolloutContext {
  /** The key set, when it is one of a key version. */
  readonly keySet: KeySetRecord | undefined;
  /** All rollouts that have not ended, oldest first. */
  readonly open: readonly RolloutRecord[];
  readonly trustLatest: TrustVersion;
}

export type StartOutcome =
  | ({
      readonly kind: 'start';
      readonly rollout: RolloutRecord;
      /** The version or bundle that it carries. */
      readonly version: KeyVersionRecord | undefined;
      readonly bundle: TrustBundleRecord | undefined;
      /** Versions that change with it: a superseded or compromised one. */
      readonly versions: readonly KeyVersionChange[];
      /** Rollouts that end or change with it, as they are afterwards. */
      readonly others: readonly RolloutRecord[];
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export type RolloutOutcome =
  /** Nothing moves; it is worth another look then, even if nothing happens. */
  | { readonly kind: 'stay'; readonly until: Date | undefined }
  | ({
      readonly kind: 'advance';
      /** As it is afterwards. */
      readonly rollout: RolloutRecord;
      readonly versions: readonly KeyVersionChange[];
      /** Whose due marks rise: targets of open waves that have not answered, or every device the change concerns. */
      readonly due: 'none' | 'unanswered' | 'all';
    } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface RolloutDetail {
  readonly rollout: RolloutRecord;
  readonly tallies: readonly TargetTally[];
}

/** A device as a plan sees it. */
export interface PlanDevice extends Pick<DeviceRecord, 'id' | 'class' | 'site' | 'labels' | 'state'> {
  readonly connected: boolean;
  readonly lastSeenAt: Date | undefined;
  /** Its current certificate. */
  readonly certificate: Pick<CertificateRecord, 'issuer' | 'createdAt' | 'notAfter'> | undefined;
}

export type NewTarget = Pick<RolloutTarget, 'device' | 'wave' | 'position' | 'service' | 'state'>;

export interface TargetChange {
  readonly device: DeviceId;
  readonly state: TargetState;
  readonly code: string | undefined;
  readonly reason: string | undefined;
  readonly signedOff: ApprovalId | undefined;
}

export type TargetsOutcome =
  | ({ readonly kind: 'change'; readonly targets: readonly TargetChange[] } & Audited)
  | ({ readonly kind: 'refuse'; readonly error: CroupierError } & Audited);

export interface TargetFilter {
  readonly states?: readonly TargetState[] | undefined;
  readonly wave?: number | undefined;
  readonly online?: boolean | undefined;
  readonly service?: boolean | undefined;
  readonly deferred?: boolean | undefined;
  readonly old?: readonly OldVersionState[] | undefined;
  /** Only devices after this id. */
  readonly after?: string | undefined;
  readonly limit: number;
}

export type TargetDetail = RolloutTarget & { readonly connected: boolean; readonly lastSeenAt: Date | undefined };

/** On whose word something was done. */
export interface StepWord {
  /** An operator, or `the gateway` when it did so by itself. */
  readonly by: string;
  readonly approval: ApprovalId | undefined;
  /** Who approved; nobody where no approval was needed. */
  readonly approvedBy: readonly string[];
  readonly reason: string | undefined;
}

interface HistoryEntry {
  /** Ascending in the order in which it happened. */
  readonly id: number;
  readonly rollout: RolloutId;
  readonly at: Date;
  readonly code: string | undefined;
}

/** What became of the rollout itself. */
export interface RolloutStep extends HistoryEntry {
  readonly kind: 'rollout';
  readonly step: RolloutStepName;
  readonly word: StepWord;
  readonly details: StepDetails;
}

/** What became of one target: proved by the device, or on somebody's word. */
export interface TargetStep extends HistoryEntry {
  readonly kind: 'target';
  readonly device: DeviceId;
  /** Undefined where it became a target; equal to `to` where only what is known of it changed. */
  readonly from: TargetState | undefined;
  readonly to: TargetState;
  readonly word: (StepWord & { readonly step: TargetWordName }) | undefined;
}

export type HistoryStep = RolloutStep | TargetStep;

/** Whose history: of a rollout without its targets, with them, with one of them alone; or all that befell a device. */
export type HistoryOf =
  | { readonly rollout: RolloutId; readonly steps: 'rollout' | 'all' }
  | { readonly rollout: RolloutId; readonly device: DeviceId }
  | { readonly device: DeviceId };

export interface RolloutStore {
  /** Records a rollout and what it carries; its targets follow by `addTargets`. `keySet` names the one it is about. */
  startRollout(
    keySet: KeySetRecord['name'] | undefined,
    at: Date,
    decide: (context: RolloutContext) => StartOutcome,
  ): Promise<StartOutcome>;
  /** Devices that a selector names, by id: those that were revoked are left out. */
  planDevices(selector: Selector, after: string, limit: number): Promise<readonly PlanDevice[]>;
  /** Adds targets; those that are there stay as they are. Quarantined devices become quarantined targets. */
  addTargets(id: RolloutId, targets: readonly NewTarget[], at: Date): Promise<void>;
  /** Moves one rollout; changes of key versions raise the due marks of the key set's devices. */
  advanceRollout(
    id: RolloutId,
    at: Date,
    decide: (
      rollout: RolloutRecord | undefined,
      keySet: KeySetRecord | undefined,
      tallies: readonly TargetTally[],
    ) => RolloutOutcome,
  ): Promise<RolloutOutcome>;
  /** Changes targets by a person's word: the named ones, or those in one of the states. They become due. */
  changeTargets(
    id: RolloutId,
    at: Date,
    chosen: { readonly devices: readonly DeviceId[] } | { readonly states: readonly TargetState[] },
    decide: (rollout: RolloutRecord | undefined, targets: readonly RolloutTarget[]) => TargetsOutcome,
  ): Promise<TargetsOutcome>;
  rollouts(open: boolean | undefined, limit: number): Promise<readonly RolloutRecord[]>;
  rollout(id: RolloutId): Promise<RolloutDetail | undefined>;
  rolloutTargets(id: RolloutId, filter: TargetFilter): Promise<readonly TargetDetail[]>;
  /** Steps after the one of the id `after`, ascending. */
  history(of: HistoryOf, after: number, limit: number): Promise<readonly HistoryStep[]>;
}
