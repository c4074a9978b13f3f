/** One device as delivery sees it, enrolled, connected and reporting; a test overrides what it is about. */
import { DeviceClass, KeySetName, Serial, SiteName } from '#schema/ids.ts';
import { Policy } from '#schema/policy.ts';
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import type {
  CertificateRecord,
  DeviceKeyVersion,
  DeviceRecord,
  KeySetRecord,
  KeyVersionRecord,
  KeyVersionRollout,
  RolloutTarget,
  SyncRecord,
  TargetState,
} from '#gateway/ports/store/records.ts';
import {
  deviceId,
  keyVersion,
  rolloutId,
  rolloutRecord,
  second,
  sha256,
  trust,
  version,
  WALLET,
} from './store-fixtures.ts';

export const DELIVERY = Policy.parse({ version: 1, classes: {} }).delivery;
export const SERIAL = Serial.parse('0a');

export function device(over: Partial<DeviceRecord> = {}): DeviceRecord {
  return {
    id: deviceId('EGM-1'),
    class: DeviceClass.parse('egm'),
    site: SiteName.parse('main'),
    serialNumber: 'SN-1',
    labels: {},
    state: { kind: 'enrolled' },
    stateSince: second(0),
    createdAt: second(0),
    currentSerial: SERIAL,
    nextSerial: undefined,
    ...over,
  };
}

export function certificate(over: Partial<CertificateRecord> = {}): CertificateRecord {
  return {
    serial: SERIAL,
    device: deviceId('EGM-1'),
    issuer: 'device-ca-1',
    state: 'issued',
    csrSha256: sha256('csr'),
    spkiSha256: sha256('spki'),
    fingerprint: sha256('certificate'),
    tbs: new Uint8Array(),
    der: new Uint8Array([1]),
    notBefore: second(0),
    notAfter: second(365 * 86_400),
    createdAt: second(0),
    revokedAt: undefined,
    ...over,
  };
}

export function sync(over: Partial<SyncRecord> = {}): SyncRecord {
  return {
    device: deviceId('EGM-1'),
    connected: true,
    address: undefined,
    lastSeenAt: second(0),
    seq: 0,
    lastSeq: 0,
    counter: 1,
    digest: sha256('EGM-1 1'),
    nonce: 'nonce-of-the-last-report',
    nonceAnswered: false,
    clockTrusted: true,
    boots: ['00000000-0000-4000-8000-000000000001'],
    reportedFrom: [],
    unexpected: undefined,
    trustVersion: trust(1),
    agentVersion: '1.0.0',
    lastReportAt: second(1),
    dueAt: undefined,
    attempts: 0,
    ...over,
  };
}

export function keySet(versions: readonly KeyVersionRecord[], over: Partial<KeySetRecord> = {}): KeySetRecord {
  return {
    name: WALLET,
    algorithm: 'AES-256',
    use: 'wrap',
    scope: 'shared',
    selector: {},
    cryptoperiodMs: 1,
    revision: 7,
    createdAt: second(0),
    versions,
    ...over,
  };
}

export const active = (number: number): KeyVersionRecord =>
  keyVersion(number, { state: 'active', activatedAt: second(0) });
export const pending = (number: number): KeyVersionRecord =>
  keyVersion(number, { state: 'pre-activation', activatedAt: undefined });
export const accepted = (number: number): KeyVersionRecord =>
  keyVersion(number, { state: 'deactivated', deactivatedAt: second(1) });
export const retired = (number: number): KeyVersionRecord =>
  keyVersion(number, { state: 'deactivated', deactivatedAt: second(1), retiredAt: second(2) });
export const destroyed = (number: number): KeyVersionRecord =>
  keyVersion(number, { state: 'destroyed', wrapped: undefined, retiredAt: second(2), destroyedAt: second(3) });

export function held(number: number, state: DeviceKeyVersion['state']): DeviceKeyVersion {
  return {
    keySet: KeySetName.parse(WALLET),
    version: version(number),
    state,
    kcv: keyVersion(number).kcv,
    changedAt: second(0),
  };
}

/** Version 2 of `wallet-kek` on its way since second 0. */
export function rollout(over: Partial<KeyVersionRollout> = {}): KeyVersionRollout {
  const begun = { startAt: second(0), preparedAt: second(0), waveOpenedAt: second(0), createdAt: second(0) };
  return rolloutRecord({ ...begun, ...over });
}

export function target(state: TargetState, over: Partial<RolloutTarget> = {}): RolloutTarget {
  return {
    rollout: rolloutId(1),
    device: deviceId('EGM-1'),
    wave: 0,
    position: 0,
    service: false,
    state,
    code: undefined,
    reason: undefined,
    deferredUntil: undefined,
    offeredAt: undefined,
    attempts: 0,
    changedAt: second(0),
    old: 'in-use',
    signedOff: undefined,
    ...over,
  };
}

export function deliveryOf(over: Partial<DeliveryState> = {}): DeliveryState {
  return {
    device: device(),
    sync: sync(),
    versions: [held(1, 'active')],
    keySets: [keySet([active(1)])],
    rollouts: [],
    trustReleased: trust(1),
    identity: certificate(),
    memory: { sent: () => true, published: () => true },
    ...over,
  };
}

/** A rotation from version 1 to 2 on its way, and where this device stands in it. */
export function rotating(state: TargetState, over: Partial<DeliveryState> = {}): DeliveryState {
  return deliveryOf({
    keySets: [keySet([active(1), pending(2)])],
    rollouts: [{ rollout: rollout(), target: target(state) }],
    ...over,
  });
}
