/** What tests of the store put into it: small, valid records whose fields a test overrides where it cares. */
import { createHash } from 'node:crypto';
import { parse as parseYaml } from 'yaml';
import type { AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import {
  ApprovalId,
  DeviceId,
  EnrolmentId,
  KeySetName,
  KeyVersionNumber,
  OperatorName,
  Realm,
  RolloutId,
  Serial,
  Sha256,
  TrustVersion,
} from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { Report } from '#schema/messages/report.ts';
import { TrustBundle } from '#schema/messages/trust-bundle.ts';
import { Policy, Selector } from '#schema/policy.ts';
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { DeliveryState, ReportOutcome, TargetMove, VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { EnrolmentOutcome, EnrolmentQuery } from '#gateway/ports/store/enrolment.ts';
import type { KeySetChange, PolicyRecord } from '#gateway/ports/store/governance.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { HistoryOf, NewTarget, RolloutOutcome, StartOutcome, TargetStep } from '#gateway/ports/store/rollouts.ts';
import type {
  ApprovalRecord,
  CertificateIntent,
  CertificateRecord,
  DeviceRecord,
  EnrolmentRequest,
  KeyVersionRecord,
  KeyVersionRollout,
  OperatorRecord,
  ReEnrolmentRollout,
  RolloutRecord,
  TargetState,
  TrustBundleRecord,
  TrustRollout,
} from '#gateway/ports/store/records.ts';

export const REALM = Realm.parse('test');
export const WALLET = KeySetName.parse('wallet-kek');

const START = Date.parse('2026-03-01T12:00:00.000Z');

/** A time so many seconds after the start of the test's world. */
export const second = (seconds: number): Date => new Date(START + seconds * 1_000);

export const sha256 = (text: string): Sha256 => Sha256.parse(createHash('sha256').update(text).digest('hex'));
export const version = (number: number): KeyVersionNumber => KeyVersionNumber.parse(number);
export const trust = (number: number): TrustVersion => TrustVersion.parse(number);
export const deviceId = (id: string): DeviceId => DeviceId.parse(id);
export const operatorName = (name: string): OperatorName => OperatorName.parse(name);

const numbered = (number: number): string => `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;
export const rolloutId = (number: number): RolloutId => RolloutId.parse(numbered(number));
export const approvalId = (number: number): ApprovalId => ApprovalId.parse(numbered(number));
export const enrolmentId = (number: number): EnrolmentId => EnrolmentId.parse(numbered(number));

export function event(action: string, over: Partial<AuditEvent> = {}): AuditEvent {
  return { action, outcome: 'success', actor: { type: 'gateway', id: 'test' }, ...over };
}

/** What a decision refuses with: an error and the record of it. */
export const refusal = (code: ConstructorParameters<typeof CroupierError>[0]) => ({
  kind: 'refuse' as const,
  error: new CroupierError(code),
  audit: [event('test.refuse', { outcome: 'denied', code })],
});

export function inventoryRow(id: string, over: Partial<InventoryRow> = {}): InventoryRow {
  return InventoryRow.parse({ id, class: 'egm', site: 'main', serial: `SN-${id}`, labels: {}, ...over });
}

export async function importDevices(store: Store, ...ids: readonly string[]): Promise<void> {
  const rows = ids.map((id) => inventoryRow(id));
  await store.importDevices(rows, second(0), event('device.import'));
}

export function intent(device: string, number = 1, over: Partial<CertificateIntent> = {}): CertificateIntent {
  const label = `${device}/${number}`;
  return {
    serial: Serial.parse(sha256(label).slice(0, 32)),
    device: deviceId(device),
    issuer: 'device-ca',
    csrSha256: sha256(`csr ${label}`),
    spkiSha256: sha256(`spki ${label}`),
    tbs: Buffer.from(`tbs ${label}`),
    notBefore: second(0),
    notAfter: second(86_400),
    createdAt: second(number),
    freshStart: false,
    ...over,
  };
}

export function query(from: CertificateIntent, over: Partial<EnrolmentQuery> = {}): EnrolmentQuery {
  return { device: from.device, csrSha256: from.csrSha256, spkiSha256: from.spkiSha256, presented: undefined, ...over };
}

export function issueOutcome(
  of: CertificateIntent,
  over: { ticket?: string; request?: EnrolmentId } = {},
): EnrolmentOutcome {
  return {
    kind: 'issue',
    intent: of,
    ticket: over.ticket,
    request: over.request,
    audit: [event('certificate.intend', { device: of.device })],
  };
}

/** Records the intent and completes it with a stand-in for the signed bytes. */
export async function issue(store: Store, of: CertificateIntent): Promise<CertificateRecord> {
  await store.decideEnrolment(query(of), () => issueOutcome(of));
  return store.completeCertificate(
    of.serial,
    Buffer.from(`der ${of.serial}`),
    fingerprintOf(of),
    of.createdAt,
    event('certificate.issue'),
  );
}

export const fingerprintOf = (of: CertificateIntent): Sha256 => sha256(`der ${of.serial}`);

/** A device that is enrolled and whose certificate has been seen in use. */
export async function enrol(store: Store, id: string): Promise<CertificateRecord> {
  const certificate = await issue(store, intent(id));
  await store.promoteCertificate(certificate.serial, second(1));
  return certificate;
}

export async function connect(store: Store, ...ids: readonly string[]): Promise<void> {
  await store.setPresence(
    ids.map((id) => ({ device: deviceId(id), connected: true, address: '10.0.0.1', at: second(2) })),
  );
}

export function keyVersion(number: number, over: Partial<KeyVersionRecord> = {}): KeyVersionRecord {
  return {
    keySet: WALLET,
    version: version(number),
    state: 'active',
    retiredAt: undefined,
    wrapped: Buffer.from(`wrapped key ${number}`),
    kek: 'kek-1',
    kcv: `00000000${number.toString(16).padStart(2, '0')}`,
    createdAt: second(0),
    activatedAt: second(0),
    deactivatedAt: undefined,
    compromisedAt: undefined,
    destroyedAt: undefined,
    ...over,
  };
}

export function keySetChange(
  over: Partial<KeySetChange['keySet']> = {},
  first: KeyVersionRecord | undefined = keyVersion(1),
): KeySetChange {
  return {
    keySet: {
      name: WALLET,
      algorithm: 'AES-256',
      use: 'wrap',
      scope: 'shared',
      selector: Selector.parse({}),
      cryptoperiodMs: 7_776_000_000,
      ...over,
    },
    first: first === undefined ? undefined : { ...first, keySet: over.name ?? first.keySet },
  };
}

export const POLICY_DOCUMENT = 'version: 1\nclasses:\n  egm: { keyTypes: [EC-P256], validity: 30d }\n';

export function policyInput(document: string = POLICY_DOCUMENT, at: Date = second(0)): Omit<PolicyRecord, 'version'> {
  return {
    document,
    sha256: sha256(document),
    policy: Policy.parse(parseYaml(document)),
    appliedAt: at,
    appliedBy: 'alice',
  };
}

export async function addKeySet(store: Store, change: KeySetChange = keySetChange()): Promise<void> {
  await store.applyPolicy(policyInput(), [change], [], event('policy.apply'));
}

/** What `RolloutPlanPolicy` makes of nothing: everybody at once. */
export const PLAN: RolloutPlan = {
  name: 'default',
  waves: [{ name: 'all', share: { by: 'rest' }, soakMs: 0 }],
  success: 0.9,
  errors: 0.1,
  minimumSample: 1,
  quorum: 1,
  timeoutMs: 600_000,
  retries: 3,
  windows: 'respect',
  rate: null,
  stragglers: { action: 'propose', afterMs: 2_592_000_000 },
};

function rolloutCommon(at: Date) {
  return {
    id: rolloutId(1),
    plan: PLAN,
    planSha256: sha256('plan'),
    state: 'distributing' as const,
    startAt: at,
    preparedAt: at,
    wave: 0,
    waveOpenedAt: at,
    waveSettledAt: undefined,
    pause: undefined,
    stragglersAt: undefined,
    requestedBy: 'alice',
    createdAt: at,
    activatedAt: undefined,
    retiredAt: undefined,
    finishedAt: undefined,
  };
}

/** Version 2 of `wallet-kek` on its way to everybody at once. */
export function rolloutRecord(over: Partial<KeyVersionRollout> = {}): KeyVersionRollout {
  return {
    ...rolloutCommon(second(10)),
    kind: 'key-version',
    keySet: WALLET,
    fromVersion: version(1),
    toVersion: version(2),
    ...over,
  };
}

/** Trust bundle 2 on its way to everybody at once. */
export function trustRollout(over: Partial<TrustRollout> = {}): TrustRollout {
  return {
    ...rolloutCommon(second(10)),
    kind: 'trust-bundle',
    fromVersion: trust(1),
    toVersion: trust(2),
    ...over,
  };
}

/** New certificates for everybody who has one of `device-ca` from before second 10. */
export function reEnrolment(over: Partial<ReEnrolmentRollout> = {}): ReEnrolmentRollout {
  const campaign = { reason: 'ca-rollover', selector: {}, issuer: 'device-ca', before: second(10) } as const;
  return { ...rolloutCommon(second(10)), kind: 're-enrolment', campaign, ...over };
}

export type RolloutStart = Extract<StartOutcome, { kind: 'start' }>;
export type RolloutAdvance = Extract<RolloutOutcome, { kind: 'advance' }>;

export function rolloutStart(rollout: RolloutRecord, over: Partial<RolloutStart> = {}): RolloutStart {
  return {
    kind: 'start',
    rollout,
    version: undefined,
    bundle: undefined,
    versions: [],
    others: [],
    audit: [event('rollout.start')],
    ...over,
  };
}

/** The start of a rotation of `wallet-kek` from `from` to the next version, with its time `second(10)`. */
export function rotation(number: number, from = 1, over: Partial<KeyVersionRollout> = {}): RolloutStart {
  const rollout = rolloutRecord({
    id: rolloutId(number),
    fromVersion: version(from),
    toVersion: version(from + 1),
    state: 'approved',
    preparedAt: undefined,
    waveOpenedAt: undefined,
    ...over,
  });
  const made = keyVersion(from + 1, { keySet: rollout.keySet, state: 'pre-activation', activatedAt: undefined });
  return rolloutStart(rollout, { version: { ...made, createdAt: rollout.createdAt } });
}

export function rolloutAdvance(rollout: RolloutRecord, over: Partial<RolloutAdvance> = {}): RolloutAdvance {
  return { kind: 'advance', rollout, versions: [], due: 'none', audit: [event(`rollout.${rollout.state}`)], ...over };
}

/** Moves an open rollout as the test says. */
export async function moveRollout<Rollout extends RolloutRecord>(
  store: Store,
  rollout: Rollout,
  at: number,
  change: Partial<Omit<RolloutRecord, 'kind'>>,
  over: Partial<RolloutAdvance> = {},
): Promise<Rollout> {
  const next = { ...rollout, ...change };
  await store.advanceRollout(rollout.id, second(at), () => rolloutAdvance(next, over));
  return next;
}

export function newTarget(id: string, over: Partial<NewTarget> = {}): NewTarget {
  return { device: deviceId(id), wave: 0, position: 0, service: false, state: 'pending', ...over };
}

/** Starts a rotation at second 10, adds its targets, and opens its first wave. */
export async function startRotation(
  store: Store,
  start: RolloutStart,
  target: (id: DeviceId) => Partial<NewTarget> | undefined = () => ({}),
): Promise<RolloutRecord> {
  const { rollout } = start;
  const at = second(10);
  const keySet = rollout.kind === 'key-version' ? rollout.keySet : undefined;
  await store.startRollout(keySet, at, () => start);
  const selector = keySet === undefined ? {} : ((await store.keySet(keySet))?.selector ?? {});
  const devices = await store.planDevices(selector, '', 10_000);
  const targets = devices.flatMap(({ id }, position) => {
    const chosen = target(id);
    return chosen === undefined ? [] : [newTarget(id, { position, ...chosen })];
  });
  await store.addTargets(rollout.id, targets, at);
  const opened = { state: 'distributing', preparedAt: at, waveOpenedAt: at } as const;
  return moveRollout(store, rollout, 10, opened, { due: 'unanswered' });
}

export function targetMove(number: number, state: TargetState, over: Partial<TargetMove> = {}): TargetMove {
  return {
    rollout: rolloutId(number),
    wave: 0,
    position: 0,
    service: false,
    state,
    code: undefined,
    deferredUntil: undefined,
    offeredAt: undefined,
    attempts: 0,
    changedAt: second(10),
    ...over,
  };
}

/** Steps of targets in a history. */
export async function targetSteps(store: Store, of: HistoryOf, after = 0, limit = 100): Promise<readonly TargetStep[]> {
  const steps = await store.history(of, after, limit);
  return steps.flatMap((step) => (step.kind === 'target' ? [step] : []));
}

export function report(id: string, counter: number, over: Partial<Report> = {}): Report {
  return Report.parse({
    v: 1,
    type: 'report',
    realm: REALM,
    device: id,
    bootId: numbered(1),
    counter,
    nonce: Buffer.from(`nonce ${counter} of ${id}`.padEnd(24)).toString('base64url').slice(0, 22),
    lastSeq: 0,
    trustVersion: 0,
    identity: { serial: '0a', notAfter: second(86_400).toISOString(), keyFingerprint: sha256(id) },
    keyrings: [],
    results: [],
    clock: { now: second(counter).toISOString(), trusted: true },
    agent: { version: '1.0.0', platform: 'linux' },
    previous: null,
    ...over,
  });
}

export function verified(
  of: Report,
  certificate: CertificateRecord,
  over: Partial<VerifiedReport> = {},
): VerifiedReport {
  return {
    report: of,
    digest: sha256(`${of.device} ${of.counter}`),
    certificate,
    address: undefined,
    receivedAt: second(100 + of.counter),
    ...over,
  };
}

type Accepted = Extract<ReportOutcome, { kind: 'accepted' }>;

export function accepted(over: Partial<Accepted> = {}): Accepted {
  return {
    kind: 'accepted',
    dueAt: undefined,
    attempts: 0,
    boots: [numbered(1)],
    proofs: [],
    targets: [],
    reportedFrom: [],
    unexpected: undefined,
    learned: { versions: [], revisions: [] },
    exposed: [],
    audit: [],
    ...over,
  };
}

export function proof(
  number: number,
  state: 'stored' | 'active' | 'retired' | 'destroyed',
  kcv: string | undefined = keyVersion(number).kcv,
) {
  return { keySet: WALLET, version: version(number), state, kcv };
}

/** Records one report of a device, decided as told. */
export async function recordReport(
  store: Store,
  certificate: CertificateRecord,
  counter: number,
  outcome: ReportOutcome,
): Promise<void> {
  await store.recordReports([verified(report(certificate.device, counter), certificate)], () => outcome);
}

/** What delivery would see of a device, without changing anything. */
export async function deliveryState(store: Store, certificate: CertificateRecord): Promise<DeliveryState | undefined> {
  let seen: DeliveryState | undefined;
  await store.recordReports([verified(report(certificate.device, 1), certificate)], (state) => {
    seen = state;
    return { kind: 'ignored', why: 'duplicate' };
  });
  return seen;
}

export function trustBundle(number: number, previous: Sha256 | null): TrustBundleRecord {
  const body = TrustBundle.parse({
    v: 1,
    type: 'trust-bundle',
    realm: REALM,
    version: number,
    previous,
    issuedAt: second(number).toISOString(),
    expiresAt: second(86_400).toISOString(),
    anchors: { identity: ['AAAA'], transport: ['AAAA'], messages: ['AAAA'] },
    messageSigners: [{ spkiSha256: sha256('signer'), role: 'current' }],
  });
  return { version: trust(number), der: Buffer.from(`bundle ${number}`), sha256: sha256(`bundle ${number}`), body };
}

export function operator(
  name: string,
  over: Partial<OperatorRecord> = {},
): OperatorRecord & { readonly tokenHash: string } {
  return {
    name: operatorName(name),
    role: 'key-admin',
    createdAt: second(0),
    createdBy: 'init',
    tokenHash: sha256(`token of ${name}`),
    ...over,
  };
}

export function approval(number: number, over: Partial<ApprovalRecord> = {}): ApprovalRecord {
  const request = `{"number":${number}}`;
  return {
    id: approvalId(number),
    action: 'keyset.rotate',
    summary: 'rotate wallet-kek',
    request,
    sha256: sha256(request),
    requester: operatorName('alice'),
    state: 'pending',
    approver: undefined,
    createdAt: second(number),
    expiresAt: second(3_600),
    decidedAt: undefined,
    result: undefined,
    ...over,
  };
}

export function parkedRequest(number: number, over: Partial<EnrolmentRequest> = {}): EnrolmentRequest {
  return {
    id: enrolmentId(number),
    csrSha256: sha256(`parked csr ${number}`),
    csr: Buffer.from(`csr ${number}`),
    device: undefined,
    reason: 'enrolment.unauthenticated',
    source: '10.0.0.9',
    state: 'pending',
    requestedAt: second(number),
    decidedAt: undefined,
    decidedBy: undefined,
    ...over,
  };
}

/** The record of a device that the test has put there. */
export async function knownDevice(store: Store, id: string): Promise<DeviceRecord> {
  const record = await store.deviceRecord(deviceId(id));
  if (record === undefined) throw new Error(`the test has not imported ${id}`);
  return record;
}
