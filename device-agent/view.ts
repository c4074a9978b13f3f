/** What the agent shows to the applications of its device: the surfaces in `local/` know nothing else of it. */
import type { KeyObject } from 'node:crypto';
import type { DeviceId, KeySetName, KeyVersionNumber, Realm, Serial, TrustVersion } from '#schema/ids.ts';
import type { WorkingKeyAlgorithm, WorkingKeyUse } from '#schema/messages/common.ts';
import type { DeviceKeyState } from '#schema/messages/report.ts';

export interface IdentityView {
  readonly realm: Realm;
  readonly device: DeviceId;
  readonly serial: Serial;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER; the issued certificate. */
  readonly certificate: Uint8Array;
  /** DER; intermediates up to, not including, the root. */
  readonly chain: readonly Uint8Array[];
  readonly privateKey: KeyObject;
}

export interface KeyVersionView {
  readonly version: KeyVersionNumber;
  readonly state: DeviceKeyState;
  readonly algorithm: WorkingKeyAlgorithm;
  readonly use: WorkingKeyUse;
  readonly kcv: string;
}

export interface KeyringView {
  readonly keySet: KeySetName;
  readonly revision: number;
  readonly active: KeyVersionNumber | null;
  readonly accept: readonly KeyVersionNumber[];
  readonly versions: readonly KeyVersionView[];
}

export interface TrustView {
  readonly version: TrustVersion;
  readonly expiresAt: Date;
  /** Certificates (DER) by purpose. */
  readonly anchors: Readonly<Record<string, readonly Uint8Array[]>>;
  /** The bundle as it was published: CMS, DER. */
  readonly bundle: Uint8Array;
}

export type AgentChange =
  | { readonly kind: 'identity'; readonly serial: Serial }
  | { readonly kind: 'trust'; readonly version: TrustVersion }
  | {
      readonly kind: 'keyring';
      readonly keySet: KeySetName;
      readonly revision: number;
      readonly active: KeyVersionNumber | null;
    };

export interface AgentView {
  /** Undefined before enrolment. */
  identity(): IdentityView | undefined;
  trust(): TrustView | undefined;
  keyrings(): readonly KeyringView[];
  /** A copy of the key bytes, which the caller wipes; undefined when it is not held or was retired or destroyed. */
  keyBytes(keySet: KeySetName, version: KeyVersionNumber): Uint8Array | undefined;
  /** Counts committed changes, for watches that resume. */
  generation(): number;
  /** Called after each committed (durable) change; returns what ends the subscription. */
  onChange(listener: (change: AgentChange, generation: number) => void): () => void;
}

/** Asked before an activation: an application may be in the middle of something (credits on the meter). */
export interface BusyOracle {
  /** When the key set may be switched at the earliest; undefined means now. */
  busyUntil(keySet: KeySetName, now: Date): Date | undefined;
}
