/** One device of the model: its rows in the gateway's store, the device itself, and the line between them. */
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import type {
  CertificateRecord,
  DeviceRecord,
  KeySetRecord,
  RolloutRecord,
  RolloutTarget,
  SyncRecord,
} from '#gateway/ports/store/records.ts';
import type { TrustVersion } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';
import type { MadeReport, ModelDevice } from './device.ts';
import type { Departure, Habit } from './habits.ts';
import type { Rows } from './shared-rows.ts';
import type { Stream } from './stream.ts';
import type { Tally } from './tally.ts';

export type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A rollout that has not ended, with this device's target where it has one. */
export interface RolloutEntry {
  rollout: RolloutRecord;
  target: RolloutTarget | undefined;
  readonly open: OpenRollout;
}

export interface OpenRollout {
  record: RolloutRecord;
  readonly tally: Tally;
  readonly members: { readonly node: ModelNode; readonly entry: RolloutEntry }[];
  /** When it is looked at next; infinite if nothing calls for it. */
  lookAt: number;
}

/** What decisions are given. The rows change in place; the decisions only read them. */
export interface NodeState extends DeliveryState {
  device: Mutable<DeviceRecord>;
  sync: Mutable<SyncRecord>;
  versions: Rows;
  keySets: readonly KeySetRecord[];
  rollouts: RolloutEntry[];
  trustReleased: TrustVersion;
  identity: CertificateRecord | undefined;
}

/** An update under way, with the trust links before it. */
export interface SentUpdate {
  readonly update: Update;
  readonly digest: MadeReport['digest'];
  readonly linksFrom: TrustVersion;
  readonly linksTo: TrustVersion;
}

/** The network between the gateway and one device. */
export interface Line {
  /** Counts connections: what belongs to an earlier one is lost. */
  connection: number;
  isUp: boolean;
  /** In order, as MQTT keeps them. */
  readonly down: SentUpdate[];
  readonly up: MadeReport[];
  downAt: number;
  upAt: number;
}

/** What is scheduled for the device. */
export interface Agenda {
  isInTurn: boolean;
  renewAt: number;
  /** The time of renewal that was put in last. */
  renewScheduled: number;
}

/** What a device is sent until it holds what it should. */
export interface Catchup {
  /** Since when; undefined while nothing is open. */
  since: number | undefined;
  /** It was away before, for so long. */
  absence: number;
  messages: number;
  /** So many of them are in order. */
  allowance: number;
  /** Until when the device has asked for time; each time it asks anew is an occasion to ask again. */
  deferredUntil: string | undefined;
}

export interface ModelNode {
  /** Its place on the floor. */
  readonly number: number;
  /** Its place in its lane. */
  readonly index: number;
  readonly state: NodeState;
  readonly device: ModelDevice;
  habit: Habit;
  readonly stream: Stream;
  readonly line: Line;
  readonly agenda: Agenda;
  readonly catchup: Catchup;
  /** The line is down since then; undefined while it is up. */
  awaySince: number | undefined;
  hasPower: boolean;
  /** An engineer has approved its request for a certificate. */
  isVouchedFor: boolean;
  /** Certificates issued to it. */
  certificates: number;
  /** People have given up on it, or on what it proved: nothing waits for it. */
  isGivenUp: boolean;
  /** How it will go next; undefined if it stays. */
  departure: Departure | undefined;
  /** The certificate before the present one, that reports under way may be signed with. */
  formerIdentity: CertificateRecord | undefined;
}
