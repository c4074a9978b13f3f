/** Each invariant judged over evidence in which it holds, and over the same evidence with one thing changed. */
import { describe, expect, test } from 'vitest';
import { DeviceDetailView, type KeySetView } from '#schema/api/views.ts';
import { KeySetName, KeyVersionNumber, Seq, Serial, TrustVersion, type DeviceId } from '#schema/ids.ts';
import type { KeyVersionView } from '#agent/view.ts';
import type { Observation } from '#simulator/floor/observer.ts';
import { planFloor, type DevicePlan } from '#simulator/floor/plan.ts';
import type { DeviceHistory, VersionSpan } from '#simulator/verify/chronicle.ts';
import {
  activationKey,
  heldDifferenceOf,
  judgeInvariants,
  messageBound,
  type DeviceEvidence,
  type Evidence,
  type InvariantResult,
} from '#simulator/verify/invariants.ts';

const NOW = Date.parse('2026-11-22T00:00:00.000Z');
const at = (seconds: number): number => NOW + seconds * 1_000;
const stamp = (seconds: number): string => new Date(at(seconds)).toISOString();
const WALLET = KeySetName.parse('wallet-kek');
const SERIAL = Serial.parse('0a');
const V1 = KeyVersionNumber.parse(1);
const V2 = KeyVersionNumber.parse(2);
const KCV = '0123456789';

const plans = planFloor({ seed: 's', size: 4, now: new Date(0) });
const egm = planOf('egm');
const service = planOf('service');

function planOf(name: string): DevicePlan {
  const found = plans.find((plan) => plan.class === name);
  if (found === undefined) throw new Error(`the floor has no ${name}`);
  return found;
}

/** Version 1 from the beginning, version 2 active after 20 s; both are accepted. */
const keySet = (over: Partial<KeySetView> = {}): KeySetView => ({
  name: WALLET,
  algorithm: 'AES-256',
  use: 'wrap',
  scope: 'shared',
  selector: {},
  cryptoperiodMs: 1,
  rotateBy: null,
  rotation: { state: 'in-period', start: 'manual', plan: 'default', dueAt: null, endsAt: null },
  activeVersion: V2,
  revision: 2,
  createdAt: stamp(0),
  versions: [version(1, 'deactivated'), version(2, 'active')],
  ...over,
});

const version = (number: number, state: KeySetView['versions'][number]['state'], over: object = {}) => ({
  version: KeyVersionNumber.parse(number),
  state,
  kcv: KCV,
  kek: 'kek-1',
  createdAt: stamp(0),
  activatedAt: stamp(number === 1 ? 0 : 20),
  deactivatedAt: null,
  retiredAt: null,
  destroyedAt: null,
  compromisedAt: null,
  ...over,
});

const span = (number: number, from: number, to: number = Infinity): VersionSpan => ({
  keySet: WALLET,
  version: KeyVersionNumber.parse(number),
  from: at(from),
  to: to === Infinity ? to : at(to),
});

const history = (plan: DevicePlan, over: Partial<DeviceHistory> = {}): DeviceHistory => ({
  plan,
  connections: [{ from: at(1), to: Infinity }],
  applied: [{ at: at(10), seq: Seq.parse(1), deferred: false }],
  refused: [],
  repeatedUpdates: 0,
  parkings: 0,
  links: 0,
  trust: [{ at: at(1), version: TrustVersion.parse(1) }],
  serials: new Map([[SERIAL, at(1)]]),
  used: [span(1, 2, 21), span(2, 21)],
  accepted: [span(1, 2), span(2, 10)],
  reports: [],
  errors: [],
  clocks: [],
  setbacks: [],
  ...over,
});

const held = (number: number, state: KeyVersionView['state']): KeyVersionView => ({
  version: KeyVersionNumber.parse(number),
  state,
  algorithm: 'AES-256',
  use: 'wrap',
  kcv: KCV,
});

const observation = (plan: DevicePlan, over: Partial<Observation> = {}): Observation => ({
  plan,
  phase: 'connected',
  serial: SERIAL,
  trustVersion: TrustVersion.parse(1),
  keyrings: new Map([
    [
      WALLET,
      { keySet: WALLET, revision: 2, active: V2, accept: [V1, V2], versions: [held(1, 'stored'), held(2, 'active')] },
    ],
  ]),
  isAtGoal: true,
  ...over,
});

const record = (plan: DevicePlan, over: object = {}): DeviceDetailView =>
  DeviceDetailView.parse({
    id: plan.id,
    class: plan.class,
    site: plan.row.site,
    serialNumber: plan.row.serial,
    labels: {},
    state: 'enrolled',
    stateCode: null,
    stateSince: stamp(0),
    connected: true,
    lastSeenAt: stamp(0),
    trustVersion: 1,
    createdAt: stamp(0),
    address: null,
    agentVersion: null,
    clockTrusted: true,
    lastReportAt: stamp(0),
    seq: 1,
    lastSeq: 1,
    dueAt: null,
    attempts: 0,
    certificates: [certificate(SERIAL, 1)],
    keys: ['stored', 'active'].map((state, index) => ({
      keySet: WALLET,
      version: index + 1,
      state,
      kcv: KCV,
      changedAt: stamp(0),
    })),
    targets: [],
    ...over,
  });

const certificate = (serial: string, createdAt: number) => ({
  serial,
  issuer: 'device-ca-1',
  slot: 'current',
  state: 'issued',
  fingerprint: 'a'.repeat(64),
  spkiSha256: 'b'.repeat(64),
  notBefore: stamp(0),
  notAfter: stamp(1_000),
  createdAt: stamp(createdAt),
  revokedAt: null,
  der: null,
});

const both = (plan: DevicePlan, over: Partial<DeviceEvidence> = {}): DeviceEvidence => ({
  history: history(plan),
  device: observation(plan),
  record: record(plan),
  traffic: { sent: 5, received: 5 },
  ...over,
});

/** A service and a slot machine through one rotation, and everything in order. */
const evidence = (over: Partial<Evidence> = {}, machine: Partial<DeviceEvidence> = {}): Evidence => ({
  devices: [both(service), both(egm, machine)],
  contained: new Set<DeviceId>(),
  trust: TrustVersion.parse(1),
  keySets: [keySet()],
  activations: new Map([
    [activationKey(WALLET, 1), at(0)],
    [activationKey(WALLET, 2), at(20)],
  ]),
  signedOff: new Set<DeviceId>(),
  changes: 2,
  trail: { certificates: new Map([[SERIAL, { intended: 3, issued: 4 }]]), containment: new Map(), records: 10 },
  audit: { verified: true, records: 10, fault: undefined },
  ...over,
});

const broken = (found: Evidence): readonly InvariantResult[] =>
  judgeInvariants(found).filter(({ violations }) => violations.length > 0);

const contained = (from: number, to: number = Infinity): Partial<Evidence> => ({
  trail: {
    ...evidence().trail,
    containment: new Map([[egm.id, [{ from: at(from), to: to === Infinity ? to : at(to) }]]]),
  },
});

test('given evidence in which everything is in order, then every invariant holds, and each looked at every device', () => {
  const results = judgeInvariants(evidence());
  expect(results.map(({ id }) => id)).toEqual(['sync', 'I1', 'I3', 'I5', 'I6', 'I7', 'I9', 'I11']);
  expect(results.flatMap(({ violations }) => violations)).toEqual([]);
  expect(results.every(({ id, checked }) => checked === (id === 'I7' ? 10 : 2))).toBe(true);
});

const without = (serials: readonly string[]) => ({
  ...evidence().trail,
  certificates: new Map(serials.map(orderless)),
});
const orderless = (serial: string): [string, { intended: undefined; issued: number }] => [
  serial,
  { intended: undefined, issued: 4 },
];
const usedEarly = [span(1, 2, 19), span(2, 19)];
const destroyed = [version(1, 'destroyed', { destroyedAt: stamp(30) }), version(2, 'active')];

/** Each row: the one invariant that breaks, for the slot machine alone. */
const cases: readonly (readonly [string, InvariantResult['id'], Evidence])[] = [
  [
    'a certificate that the gateway does not know',
    'I1',
    evidence(
      {},
      {
        history: history(egm, {
          serials: new Map([
            [SERIAL, at(1)],
            [Serial.parse('0b'), at(2)],
          ]),
        }),
      },
    ),
  ],
  ['more messages than anything can explain', 'I3', evidence({}, { traffic: { sent: 500, received: 0 } })],
  ['a step back', 'I5', evidence({}, { history: history(egm, { setbacks: ['went back'] }) })],
  ['a version used before its activation', 'I6', evidence({}, { history: history(egm, { used: usedEarly }) })],
  ['a version used that was never activated', 'I6', evidence({}, { history: history(egm, { used: [span(3, 30)] }) })],
  ['a connection kept in quarantine', 'I9', evidence(contained(30, 60))],
  [
    'an update taken in quarantine',
    'I9',
    evidence(contained(30, 60), {
      history: history(egm, { connections: [], applied: [{ at: at(40), seq: Seq.parse(2), deferred: false }] }),
    }),
  ],
  [
    'a certificate made in quarantine',
    'I9',
    evidence(contained(30, 60), {
      history: history(egm, { connections: [] }),
      record: record(egm, { certificates: [certificate(SERIAL, 40)] }),
    }),
  ],
  [
    'a certificate other than the record’s',
    'sync',
    evidence({}, { device: observation(egm, { serial: Serial.parse('0c') }) }),
  ],
  ['an older trust bundle', 'sync', evidence({ trust: TrustVersion.parse(2) }, {})],
];

test.each(cases)('given %s, then %s names the device', (_, id, found) => {
  const results = broken(found);
  expect(results.map((result) => result.id)).toEqual([id]);
  const devices = results[0]?.violations.map(({ device }) => device);
  expect(devices).toContain(egm.id);
  if (id !== 'sync') expect(new Set(devices)).toEqual(new Set([egm.id]));
});

test('given a certificate whose audit record comes after its signature, then I1 is broken', () => {
  expect(broken(evidence({ trail: without([SERIAL]) })).map(({ id }) => id)).toEqual(['I1']);
});

describe('I6, with a service', () => {
  const late = (accepted: readonly VersionSpan[]): Evidence =>
    evidence({ devices: [both(service, { history: history(service, { accepted }) }), both(egm)] });

  test('given a service that accepts the version before anybody uses it, then it holds', () => {
    expect(broken(late([span(1, 2), span(2, 20)]))).toEqual([]);
  });

  test('given a service that accepts it later than a device uses it, then it is broken, and the service is named', () => {
    const [result] = broken(late([span(1, 2), span(2, 25)]));
    expect(result?.id).toBe('I6');
    expect(result?.violations).toContainEqual({ device: egm.id, what: expect.stringContaining(service.id) });
  });
});

describe('I11', () => {
  const gone = (used: readonly VersionSpan[], signedOff: readonly DeviceId[] = []): readonly string[] =>
    broken(
      evidence(
        { keySets: [keySet({ versions: destroyed })], signedOff: new Set(signedOff) },
        { history: history(egm, { used }) },
      ),
    ).map(({ id }) => id);

  test('given a version that nobody used when it was destroyed, then it holds', () => {
    expect(gone([span(1, 2, 21), span(2, 21)])).not.toContain('I11');
  });

  test('given a version that a device still used when it was destroyed, then it is broken unless that was signed off', () => {
    const used = [span(1, 2, 40), span(2, 40)];
    expect(gone(used)).toContain('I11');
    expect(gone(used, [egm.id])).not.toContain('I11');
  });
});

describe('shut out', () => {
  const shut = {
    device: observation(egm, { phase: 'disconnected' }),
    record: record(egm, { state: 'quarantined', connected: false }),
  };

  test('given a device that is shut out and should be, then everything holds', () => {
    const quiet = { ...shut, history: history(egm, { connections: [{ from: at(1), to: at(31) }] }) };
    expect(broken(evidence({ ...contained(30), contained: new Set([egm.id]) }, quiet))).toEqual([]);
  });

  test('given a device that is shut out and should not be, or the other way round, then the two sides differ', () => {
    expect(broken(evidence({}, shut)).map(({ id }) => id)).toEqual(['sync']);
    expect(broken(evidence({ contained: new Set([egm.id]) })).map(({ id }) => id)).toEqual(['sync']);
  });
});

test('given an audit trail that does not verify, then I7 is broken, whoever the devices are', () => {
  const results = broken(evidence({ audit: { verified: false, records: 0, fault: 'record 7' } }));
  expect(results).toMatchObject([{ id: 'I7', violations: [{ device: null, what: 'record 7' }] }]);
});

describe('what a device should hold', () => {
  const difference = (versions: KeySetView['versions']): string | undefined =>
    heldDifferenceOf(observation(egm), [keySet({ versions })], TrustVersion.parse(1));

  test('given the versions that are accepted, then it holds what it should', () => {
    expect(difference([version(1, 'deactivated'), version(2, 'active')])).toBeUndefined();
  });

  test.each([
    ['retired', version(1, 'deactivated', { retiredAt: stamp(30) })],
    ['destroyed', version(1, 'destroyed', { destroyedAt: stamp(30) })],
  ])('given a version that is %s, then it should not accept it any more', (_, first) => {
    expect(difference([first, version(2, 'active')])).toContain('wallet-kek');
  });

  test('given an accepted version that it lacks, then it should hold it, unless its bytes are lost', () => {
    const both = [version(1, 'deactivated'), version(2, 'active')];
    expect(difference([...both, version(3, 'deactivated')])).toContain('wallet-kek');
    expect(difference([...both, version(3, 'deactivated', { kek: 'lost' })])).toBeUndefined();
  });
});

test('the bound on messages grows with what happened to the device, and with nothing else', () => {
  const one = messageBound(history(egm), 0);
  expect(messageBound(history(egm, { reports: [{ at: 0, counter: 1, repeated: false }] }), 0)).toBe(one);
  expect(messageBound(history(egm, { links: 1 }), 0)).toBeGreaterThan(one);
  expect(messageBound(history(egm), 1)).toBeGreaterThan(one);
});
