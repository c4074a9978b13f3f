import { describe, expect, test } from 'vitest';
import { DeviceDetailView } from '#schema/api/views.ts';
import { KeySetName, KeyVersionNumber, Serial, TrustVersion } from '#schema/ids.ts';
import type { KeyringView } from '#agent/view.ts';
import type { Observation } from '#simulator/floor/observer.ts';
import { planFloor } from '#simulator/floor/plan.ts';
import { differenceOf } from '#simulator/verify/compare.ts';

const [plan] = planFloor({ seed: 's', size: 4, now: new Date(0) });
if (plan === undefined) throw new Error('a floor has a device');
const AT = '2026-11-21T12:00:00.000Z';
const WALLET = KeySetName.parse('wallet-kek');
const SERIAL = Serial.parse('0a');

const keyring: KeyringView = {
  keySet: WALLET,
  revision: 1,
  active: KeyVersionNumber.parse(1),
  accept: [KeyVersionNumber.parse(1)],
  versions: [
    { version: KeyVersionNumber.parse(1), state: 'active', algorithm: 'AES-256', use: 'wrap', kcv: '0123456789' },
  ],
};

const device: Observation = {
  plan,
  phase: 'connected',
  serial: SERIAL,
  trustVersion: TrustVersion.parse(1),
  keyrings: new Map([[WALLET, keyring]]),
  isAtGoal: true,
};

const keyOf = (version: number, state: string, kcv: string | null) => ({
  keySet: WALLET,
  version,
  state,
  kcv,
  changedAt: AT,
});

const record = (over: Readonly<Record<string, unknown>> = {}) =>
  DeviceDetailView.parse({
    id: plan.id,
    class: plan.row.class,
    site: plan.row.site,
    serialNumber: plan.row.serial,
    labels: {},
    state: 'enrolled',
    stateCode: null,
    stateSince: AT,
    connected: true,
    lastSeenAt: AT,
    trustVersion: 1,
    createdAt: AT,
    address: null,
    agentVersion: null,
    clockTrusted: true,
    lastReportAt: AT,
    seq: 1,
    lastSeq: 1,
    dueAt: null,
    attempts: 0,
    certificates: [
      {
        serial: SERIAL,
        issuer: 'device-ca-1',
        slot: 'current',
        state: 'issued',
        fingerprint: 'a'.repeat(64),
        spkiSha256: 'b'.repeat(64),
        notBefore: AT,
        notAfter: AT,
        createdAt: AT,
        revokedAt: null,
        der: null,
      },
    ],
    keys: [keyOf(1, 'active', '0123456789')],
    targets: [],
    ...over,
  });

describe('a device and its record', () => {
  test('given the same on both sides, then they agree', () => {
    expect(differenceOf(device, record())).toBeUndefined();
  });

  test('given versions that were only offered or are destroyed, then the device need not hold them', () => {
    const keys = [keyOf(1, 'active', '0123456789'), keyOf(2, 'offered', null), keyOf(3, 'destroyed', null)];
    expect(differenceOf(device, record({ keys }))).toBeUndefined();
  });

  test.each([
    ['its state', record({ state: 'quarantined' }), device],
    ['its connection', record({ connected: false }), device],
    ['its certificate', record({ certificates: [] }), device],
    ['its trust', record({ trustVersion: 2 }), device],
    ['a key that the device lacks', record(), { ...device, keyrings: new Map() }],
    ['a key that the record lacks', record({ keys: [] }), device],
    ['the state of a key', record({ keys: [keyOf(1, 'stored', '0123456789')] }), device],
    ['the check value of a key', record({ keys: [keyOf(1, 'active', '9876543210')] }), device],
  ])('given another value for %s, then they differ', (_, found, observed) => {
    expect(differenceOf(observed, found)).toBeTypeOf('string');
  });
});
