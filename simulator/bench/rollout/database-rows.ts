/** A database with many devices, made through the store: what a gateway of a large floor has after some time. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import {
  RolloutId,
  Seq,
  Serial,
  Sha256,
  type DeviceId,
  type KeyVersionNumber,
  type Realm,
  type TrustVersion,
} from '#schema/ids.ts';
import type { Report } from '#schema/messages/report.ts';
import type { Policy } from '#schema/policy.ts';
import { decideReport } from '#gateway/delivery/decide-report.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { activeVersion, decideRotation, nextVersion } from '#gateway/keys/decide-rotation.ts';
import type { ReportOutcome, VerifiedReport } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { CertificateIntent, KeySetRecord, KeyVersionRollout, TargetState } from '#gateway/ports/store/records.ts';
import type { NewTarget } from '#gateway/ports/store/rollouts.ts';
import { planHash, resolvePlan } from '#gateway/rollout/plan.ts';
import { devicesOf } from '#gateway/rollout/prepare.ts';
import { targetsOf } from '#gateway/rollout/targets.ts';
import { planFloor } from '../../floor/plan.ts';
import { KEY_SET } from '../fleet.ts';
import { compositionFor } from './composition.ts';
import { isAway, standingOf, type Standing } from './database-shares.ts';

/** Requests to the store that may share a commit. */
const AT_ONCE = 500;
const YEAR_MS = 365 * 86_400_000;
const DEFERRED_MS = 3_600_000;
/** Octets of a device's certificate, whole and without its signature: P-256, the profile of a device. */
const CERTIFICATE_OCTETS = 790;
const TBS_OCTETS = 700;
/** Documentation address (RFC 5737). */
export const ADDRESS = '192.0.2.40';
const ACTOR = { type: 'gateway', id: 'benchmark' } as const;

export interface FilledDevice {
  readonly id: DeviceId;
  readonly standing: Standing;
  readonly report: Report;
  readonly digest: Sha256;
  readonly certificate: VerifiedReport['certificate'];
}

export interface Filled {
  readonly realm: Realm;
  readonly policy: Policy;
  readonly trust: TrustVersion;
  readonly keySet: KeySetRecord;
  readonly rollout: KeyVersionRollout;
  /** Devices that were added now, with what they reported last. */
  readonly added: readonly FilledDevice[];
  /** What it took to record a target. */
  readonly targetMicroseconds: number;
}

const event = (action: string, over: Partial<AuditEvent> = {}): AuditEvent => ({
  action,
  outcome: 'success',
  actor: ACTOR,
  ...over,
});

const digest = (): Sha256 => Sha256.parse(randomBytes(32).toString('hex'));
const derivedDigest = (...parts: readonly (string | number)[]): Sha256 =>
  Sha256.parse(createHash('sha256').update(parts.join('/')).digest('hex'));

async function inParts<Item>(items: readonly Item[], size: number, job: (part: readonly Item[]) => Promise<unknown>) {
  for (let from = 0; from < items.length; from += size) await job(items.slice(from, from + size));
}

const forEachShared = <Item>(items: readonly Item[], job: (item: Item) => Promise<unknown>): Promise<void> =>
  inParts(items, AT_ONCE, (part) => Promise.all(part.map(job)));

async function certify(store: Store, device: DeviceId, at: Date): Promise<VerifiedReport['certificate']> {
  const intent: CertificateIntent = {
    serial: Serial.parse(randomBytes(16).toString('hex')),
    device,
    issuer: 'device-ca',
    csrSha256: digest(),
    spkiSha256: digest(),
    tbs: randomBytes(TBS_OCTETS),
    notBefore: at,
    notAfter: new Date(at.getTime() + YEAR_MS),
    createdAt: at,
    freshStart: false,
  };
  const { serial, issuer, csrSha256, spkiSha256 } = intent;
  const about = { device, object: { type: 'certificate', id: serial } };
  await store.decideEnrolment({ device, csrSha256, spkiSha256, presented: undefined }, () => ({
    kind: 'issue',
    intent,
    ticket: undefined,
    request: undefined,
    audit: [event('certificate.intend', about)],
  }));
  await store.completeCertificate(
    serial,
    randomBytes(CERTIFICATE_OCTETS),
    digest(),
    at,
    event('certificate.issue', about),
  );
  await store.promoteCertificate(serial, at);
  return { serial, device, issuer, state: 'issued', createdAt: at };
}

async function begin(store: Store, policy: Policy, keySet: KeySetRecord, at: Date): Promise<KeyVersionRollout> {
  const version = nextVersion(keySet);
  const from = activeVersion(keySet);
  if (from === undefined) throw new CroupierError('keyset.state-refused', `${keySet.name} has no active version`);
  const plan = resolvePlan(policy);
  const change = { kind: 'key-version', keySet: keySet.name, fromVersion: from.version, toVersion: version } as const;
  const outcome = await store.startRollout(keySet.name, at, (context) =>
    decideRotation(keySet.name, context, {
      rollout: RolloutId.parse(randomUUID()),
      plan,
      planSha256: planHash(change, plan, policy.rollouts.windows),
      startAt: at,
      actor: ACTOR,
      approval: undefined,
      at,
      version,
      wrapped: randomBytes(64),
      kek: from.kek,
      kcv: randomBytes(5).toString('hex'),
      supersede: false,
    }),
  );
  if (outcome.kind !== 'start' || outcome.rollout.kind !== 'key-version')
    throw new CroupierError('internal.unexpected', 'the rotation was not begun');
  return outcome.rollout;
}

/** Opens it for everybody, as if its waves had passed. */
async function activate(store: Store, { id }: KeyVersionRollout, at: Date): Promise<void> {
  await store.advanceRollout(id, at, (current) => {
    if (current === undefined) throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
    const opened = { preparedAt: at, waveOpenedAt: at, activatedAt: at };
    return {
      kind: 'advance',
      rollout: { ...current, ...opened, state: 'active' },
      versions: [],
      due: 'none',
      audit: [event('rollout.active')],
    };
  });
}

const kcvOf = ({ versions }: KeySetRecord, number: KeyVersionNumber): string =>
  versions.find(({ version }) => version === number)?.kcv ?? '';

/** What a device in this standing holds of both versions, as its report has it. */
export function keyringOf(
  keySet: KeySetRecord,
  { fromVersion, toVersion }: KeyVersionRollout,
  { old, own }: Pick<Standing, 'old' | 'own'>,
): Report['keyrings'][number] {
  const kcv = (version: KeyVersionNumber, state: string): string | null =>
    state === 'destroyed' ? null : kcvOf(keySet, version);
  const held =
    own === undefined || own === 'offered' ? [] : [{ version: toVersion, state: own, kcv: kcv(toVersion, own) }];
  return {
    keySet: keySet.name,
    revision: keySet.revision,
    active: own === 'active' ? toVersion : fromVersion,
    versions: [{ version: fromVersion, state: old, kcv: kcv(fromVersion, old) }, ...held],
  };
}

/** The next report of a device. Nobody looks at its signature here. */
export function reportOf(
  realm: Realm,
  device: DeviceId,
  { serial }: VerifiedReport['certificate'],
  keyring: Report['keyrings'][number],
  {
    before,
    seq,
    now,
    trustVersion,
  }: {
    readonly before: FilledDevice | undefined;
    readonly seq: Seq;
    readonly now: Date;
    readonly trustVersion: TrustVersion;
  },
): Report {
  const counter = (before?.report.counter ?? 0) + 1;
  return {
    v: 1,
    type: 'report',
    realm,
    device,
    bootId: before?.report.bootId ?? randomUUID(),
    counter,
    nonce: randomBytes(16).toString('base64url'),
    lastSeq: seq,
    trustVersion,
    identity: {
      serial,
      notAfter: new Date(now.getTime() + YEAR_MS).toISOString(),
      keyFingerprint: derivedDigest(device, 'key'),
    },
    keyrings: [keyring],
    results: [{ seq, outcome: 'applied' }],
    clock: { now: now.toISOString(), trusted: true },
    agent: { version: 'benchmark', platform: 'linux' },
    previous: before?.digest ?? null,
  };
}

const CODES: Readonly<Partial<Record<TargetState, string>>> = {
  refused: 'key.kcv-mismatch',
  stalled: 'network.timeout',
  overdue: 'rollout.activation-overdue',
};

const isOffered = ({ own }: Standing): boolean => own !== undefined;

/** What its first report brought about, as it is decided, and all that came of the rollout since. */
function outcomeOf(
  { policy, rollout }: Pick<Filled, 'policy' | 'rollout'>,
  target: NewTarget,
  standing: Standing,
  ...[known, verified]: Parameters<Parameters<Store['recordReports']>[1]>
): ReportOutcome {
  const at = verified.receivedAt;
  const { device } = verified.report;
  const { state, deferred } = standing;
  if (state === 'quarantined') {
    const code = 'report.forked';
    return { kind: 'quarantine', code, audit: [event('device.quarantine', { code, device })] };
  }
  const decided = decideReport(known, verified, policy.delivery, createWindows({}));
  if (decided.kind !== 'accepted')
    throw new CroupierError('internal.unexpected', `the report of ${device} was ${JSON.stringify(decided)}`);
  const { wave, position, service } = target;
  const offeredAt = isOffered(standing) ? at : undefined;
  const deferredUntil = deferred === true ? new Date(at.getTime() + DEFERRED_MS) : undefined;
  const shown = { state, code: CODES[state], deferredUntil, offeredAt, attempts: offeredAt === undefined ? 0 : 1 };
  return {
    ...decided,
    dueAt: undefined,
    targets: state === 'pending' ? [] : [{ rollout: rollout.id, wave, position, service, ...shown, changedAt: at }],
  };
}

/** The number of the first update and of the one that carries the rollout's version. */
const firstSeq = (at: Date): Seq => Seq.parse(at.getTime() - 60_000);

interface Player {
  readonly target: NewTarget;
  readonly number: number;
  readonly certificate: VerifiedReport['certificate'];
}

/** Sends what many devices were sent, and records what they have reported of it. */
async function play(
  store: Store,
  filled: Omit<Filled, 'added' | 'targetMicroseconds'>,
  players: readonly Player[],
  at: Date,
): Promise<readonly FilledDevice[]> {
  const { keySet, rollout, realm, trust } = filled;
  const seq = firstSeq(at);
  const offer = (version: KeyVersionNumber) => [{ keySet: keySet.name, version, kcv: kcvOf(keySet, version) }];
  const update = (device: DeviceId, number: number, version: KeyVersionNumber) => ({
    device,
    seq: number,
    sha256: derivedDigest(device, number),
    issuedAt: at,
    offered: offer(version),
  });
  await store.recordUpdates(
    players.flatMap(({ target: { device }, number }) => [
      update(device, seq, rollout.fromVersion),
      ...(isOffered(standingOf(number)) ? [update(device, seq + 1, rollout.toVersion)] : []),
    ]),
  );
  const devices = players.map(({ target: { device: id }, number, certificate }): FilledDevice => {
    const standing = standingOf(number);
    const history = { before: undefined, seq, now: at, trustVersion: trust };
    const report = reportOf(realm, id, certificate, keyringOf(keySet, rollout, standing), history);
    return { id, standing, report, digest: digest(), certificate };
  });
  const roles = new Map(players.map((player) => [player.target.device, player]));
  await store.recordReports(
    devices.map(({ report, digest, certificate }) => ({
      report,
      digest,
      certificate,
      address: ADDRESS,
      receivedAt: at,
    })),
    (state, verified) => {
      const player = roles.get(verified.report.device);
      if (player === undefined) throw new CroupierError('internal.unexpected', 'a report of somebody else');
      return outcomeOf(filled, player.target, standingOf(player.number), state, verified);
    },
  );
  return devices;
}

/**
 * Adds devices up to `count`: imported, certified, connected or away, targets of one open rollout of which every state is
 * to be seen. The first time it begins the rollout.
 */
export async function fillDatabase(store: Store, realm: Realm, count: number): Promise<Filled> {
  const at = new Date();
  const record = await store.currentPolicy();
  if (record === undefined) throw new CroupierError('config.missing', 'the database has no policy');
  const { policy } = record;
  const known = new Set((await devicesOf(store, {})).map(({ id }) => id));
  const size = compositionFor(count);
  const plans = planFloor({ seed: 'bench', size, now: at }).filter(({ id }) => !known.has(id));
  await inParts(plans, 1_000, (part) =>
    store.importDevices(
      part.map(({ row }) => row),
      at,
      event('device.import', { details: { devices: part.length } }),
    ),
  );
  const certificates = new Map<DeviceId, VerifiedReport['certificate']>();
  await forEachShared(plans, async ({ id }) => {
    certificates.set(id, await certify(store, id, at));
  });
  const find = async (): Promise<KeySetRecord> => {
    const found = await store.keySet(KEY_SET);
    if (found === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${KEY_SET}`);
    return found;
  };
  const open = (await store.rollouts(true, 1_000)).find((one) => one.kind === 'key-version');
  const rollout = open ?? (await begin(store, policy, await find(), at));
  const keySet = await find();

  const selected = await devicesOf(store, keySet.selector);
  const targets = targetsOf(rollout, keySet.selector, selected).filter(({ device }) => !known.has(device));
  const begun = performance.now();
  await inParts(targets, AT_ONCE, (part) => store.addTargets(rollout.id, part, at));
  const targetMicroseconds = ((performance.now() - begun) * 1000) / Math.max(1, targets.length);
  if (open === undefined) await activate(store, rollout, at);

  const filled = { realm, policy, trust: await store.releasedTrustVersion(), keySet, rollout };
  const players = targets.flatMap((target, number): readonly Player[] => {
    const certificate = certificates.get(target.device);
    return certificate === undefined ? [] : [{ target, number, certificate }];
  });
  const added: FilledDevice[] = [];
  await inParts(players, AT_ONCE, async (part) => {
    await store.setPresence(
      part.map(({ target: { device }, number }) => ({ device, connected: !isAway(number), address: ADDRESS, at })),
    );
    added.push(...(await play(store, filled, part, at)));
  });
  return { ...filled, added, targetMicroseconds };
}
