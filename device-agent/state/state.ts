/** Everything that an agent remembers. Values are never changed in place: a change is a new state. */
import {
  Seq,
  type DeviceId,
  type KeySetName,
  type KeyVersionNumber,
  type Realm,
  type Sha256,
  type TrustVersion,
} from '#schema/ids.ts';
import type { WorkingKeyAlgorithm, WorkingKeyUse } from '#schema/messages/common.ts';
import type { DeviceKeyState, UpdateResult } from '#schema/messages/report.ts';

/** Where the device belongs and whom it may believe at first; from the ticket, without its code. */
export interface Registration {
  readonly realm: Realm;
  readonly device: DeviceId;
  readonly est: string;
  readonly mqtt: string;
  readonly public: string;
  /** SHA-256 of the root certificate. */
  readonly root: Sha256;
}

/** A certificate with its key. */
export interface IdentitySlot {
  /** PKCS#8, PEM. */
  readonly privateKey: string;
  /** DER. */
  readonly certificate: Uint8Array;
  /** DER; intermediates up to, not including, the root. */
  readonly chain: readonly Uint8Array[];
}

/** A key pair and its CSR, durable before the CSR is sent, so that a lost answer is asked for with the same bytes. */
export interface RequestedIdentity {
  readonly purpose: 'enrol' | 'renew';
  /** PKCS#8, PEM. */
  readonly privateKey: string;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
}

export interface Identities {
  readonly current: IdentitySlot | undefined;
  /** Held, but not used yet; it becomes the current one on its first use. */
  readonly next: IdentitySlot | undefined;
  readonly requested: RequestedIdentity | undefined;
  /** From an update: when to renew, if that is earlier than the certificate itself says. Cleared by the certificate that answers it. */
  readonly renewAt: Date | undefined;
}

export interface HeldTrust {
  readonly version: TrustVersion;
  /** SHA-256 of `bundle`. */
  readonly digest: Sha256;
  /** The bundle as published: CMS, DER. */
  readonly bundle: Uint8Array;
}

export interface HeldVersion {
  readonly version: KeyVersionNumber;
  readonly state: Exclude<DeviceKeyState, 'destroyed'>;
  readonly algorithm: WorkingKeyAlgorithm;
  readonly use: WorkingKeyUse;
  readonly kcv: string;
  /** Raw octets. */
  readonly key: Uint8Array;
}

/** A version whose bytes are gone. Kept for ever, so that it never returns. */
export interface DestroyedVersion {
  readonly version: KeyVersionNumber;
  /** Null if the device never held it. */
  readonly kcv: string | null;
  /** Whether the gateway still asks for the receipt. */
  readonly listed: boolean;
}

/** An activation that waits until the device is free. Until then the version active before stays in use. */
export interface DeferredActivation {
  readonly version: KeyVersionNumber;
  readonly seq: Seq;
  readonly until: Date;
}

export interface HeldKeyring {
  readonly keySet: KeySetName;
  readonly revision: number;
  readonly active: KeyVersionNumber | null;
  /** As the gateway wants it; while an activation is deferred, the active version is accepted besides. */
  readonly accept: readonly KeyVersionNumber[];
  /** Ascending. */
  readonly versions: readonly HeldVersion[];
  /** Ascending. */
  readonly destroyed: readonly DestroyedVersion[];
  readonly deferred: DeferredActivation | undefined;
}

export interface ReportChain {
  /** Of the last report; 0 before the first. */
  readonly counter: number;
  /** CMS, DER. */
  readonly last: Uint8Array | undefined;
}

export interface AgentState {
  readonly registration: Registration;
  /** DER; matches the fingerprint of the registration. Undefined before EST's cacerts were fetched. */
  readonly root: Uint8Array | undefined;
  readonly identities: Identities;
  readonly trust: HeldTrust | undefined;
  readonly lastSeq: Seq;
  /** SHA-256 of the update with `lastSeq`. */
  readonly lastDigest: Sha256 | undefined;
  readonly keyrings: readonly HeldKeyring[];
  /** Outcomes that no acknowledged report has carried yet, oldest first. */
  readonly results: readonly UpdateResult[];
  readonly report: ReportChain;
  /** The latest time known to have passed. */
  readonly clockFloor: Date;
  /** Counts commits. */
  readonly generation: number;
}

export const MAX_RESULTS = 16;

export function newState(registration: Registration): AgentState {
  return {
    registration,
    root: undefined,
    identities: { current: undefined, next: undefined, requested: undefined, renewAt: undefined },
    trust: undefined,
    lastSeq: Seq.parse(0),
    lastDigest: undefined,
    keyrings: [],
    results: [],
    report: { counter: 0, last: undefined },
    clockFloor: new Date(0),
    generation: 0,
  };
}

/** The results with one more; the oldest make room. One update has one result, the latest. */
export function withResult(results: readonly UpdateResult[], result: UpdateResult): UpdateResult[] {
  return [
    ...results.filter(({ seq, code }) => seq !== result.seq || (seq === 0 && code !== result.code)),
    result,
  ].slice(-MAX_RESULTS);
}
