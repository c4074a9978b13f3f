/**
 * The invariants that can be seen from outside, judged device by device from what both sides say: the devices' own
 * history on one side, the gateway's records and its audit trail on the other. Pure.
 */
import type { DeviceDetailView, KeySetView } from '#schema/api/views.ts';
import type { DeviceId, TrustVersion } from '#schema/ids.ts';
import { selects } from '#schema/policy.ts';
import type { Observation } from '../floor/observer.ts';
import type { Traffic } from '../floor/traffic.ts';
import type { AuditCheck } from './audit.ts';
import { coversMoment, type DeviceHistory, type Span } from './chronicle.ts';
import { containedDifferenceOf, differenceOf } from './compare.ts';
import type { Trail } from './trail.ts';

export interface Violation {
  /** Null where it is not about a device. */
  readonly device: DeviceId | null;
  readonly what: string;
}

export interface InvariantResult {
  /** `sync` is that desired, reported and held are the same. */
  readonly id: 'I1' | 'I3' | 'I5' | 'I6' | 'I7' | 'I9' | 'I11' | 'sync';
  readonly what: string;
  /** Devices, or records, that were looked at. */
  readonly checked: number;
  readonly violations: readonly Violation[];
}

/** Both sides of one device. */
export interface DeviceEvidence {
  readonly history: DeviceHistory;
  readonly device: Observation;
  readonly record: DeviceDetailView;
  readonly traffic: Traffic;
}

export interface Evidence {
  readonly devices: readonly DeviceEvidence[];
  /** Quarantined or revoked, and meant to be. */
  readonly contained: ReadonlySet<DeviceId>;
  readonly trust: TrustVersion | undefined;
  readonly keySets: readonly KeySetView[];
  /** When the gateway first said that a version is active, by `set/version`; outlasts a restored database. */
  readonly activations: ReadonlyMap<string, number>;
  /** Devices whose dependence on an old version two people signed off. */
  readonly signedOff: ReadonlySet<DeviceId>;
  /** Changes that reached the devices while they were watched: revisions of key sets, trust bundles, campaigns. */
  readonly changes: number;
  readonly trail: Trail;
  readonly audit: AuditCheck;
}

export const activationKey = (keySet: string, version: number): string => `${keySet}/${version}`;

type Judgement = (evidence: DeviceEvidence, all: Evidence) => readonly string[];

/** I1. The record was there before the signature, and says of the certificate what the device shows. */
const hasRecords: Judgement = ({ history, record }, { trail }) =>
  [...history.serials.keys()].flatMap((serial) => {
    const known = record.certificates.find((certificate) => certificate.serial === serial);
    if (known === undefined) return [`certificate ${serial} has no record`];
    const { intended, issued } = trail.certificates.get(serial) ?? {};
    if (intended === undefined) return [`certificate ${serial} was signed before it was recorded`];
    return issued !== undefined && issued < intended ? [`certificate ${serial} was issued before it was recorded`] : [];
  });

/** Messages of one connection, one trust link, one change, whatever order they come in. */
const PER_CONNECTION = 10;
const PER_LINK = 4;
const PER_CHANGE = 8;

/** As many messages as a device may need: linear in what happened to it, and in nothing else. */
export function messageBound({ connections, links, serials }: DeviceHistory, changes: number): number {
  return PER_CONNECTION * (connections.length + serials.size) + PER_LINK * links + PER_CHANGE * changes;
}

export const messagesOf = ({ sent, received }: Traffic): number => sent + received;

/** I3, its second half. */
const isBounded: Judgement = ({ history, traffic }, { changes }) => {
  const bound = messageBound(history, changes);
  const messages = messagesOf(traffic);
  return messages <= bound ? [] : [`${messages} messages, where ${bound} are enough`];
};

/** I5. */
const neverGoesBack: Judgement = ({ history, device }, { keySets }) => [
  ...history.setbacks,
  ...keySets.flatMap(({ name, versions }) =>
    versions
      .filter(({ state }) => state === 'destroyed' || state === 'compromised')
      .filter(({ version }) => device.keyrings.get(name)?.versions.some((held) => held.version === version) === true)
      .map(({ version, state }) => `holds ${name} ${version}, which is ${state}`),
  ),
];

/** I6, for one device: nothing is used before it is active, nor while a service would refuse it. */
const isActivatedInOrder: Judgement = ({ history }, { activations, devices, keySets }) =>
  history.used.flatMap(({ keySet, version, from }) => {
    const name = `${keySet} ${version}`;
    const activatedAt = activations.get(activationKey(keySet, version));
    if (activatedAt === undefined) return [`uses ${name}, which was never activated`];
    if (from < activatedAt) return [`used ${name} ${activatedAt - from} ms before its activation`];
    const selector = keySets.find((set) => set.name === keySet)?.selector ?? {};
    return devices
      .filter(({ history: { plan } }) => plan.class === 'service' && selects(selector, plan.row))
      .filter(({ history: service }) => !accepts(service, keySet, version, from))
      .map(({ history: { plan } }) => `used ${name} when ${plan.id} did not accept it`);
  });

/** A service that was not enrolled yet refuses nobody. */
function accepts({ accepted, serials }: DeviceHistory, keySet: string, version: number, at: number): boolean {
  const isThere = [...serials.values()].some((since) => since <= at) && accepted.some((span) => span.from <= at);
  const spans = accepted.filter((span) => span.keySet === keySet && span.version === version);
  return !isThere || coversMoment(spans, at);
}

/** Within so many milliseconds a device that is shut out has lost its connection, and what was on its way has arrived. */
const OFF_WITHIN_MS = 5_000;
const UNDER_WAY_MS = 2_000;

/** I9. */
const isShutOut: Judgement = ({ history, record }, { trail }) =>
  (trail.containment.get(history.plan.id) ?? []).flatMap((span) => [
    ...history.connections
      .filter((connection) => overlap(connection, { from: span.from + OFF_WITHIN_MS, to: span.to }) > 0)
      .map(() => 'kept a connection while it was shut out'),
    ...history.applied
      .filter(({ at }) => at > span.from + UNDER_WAY_MS && at < span.to)
      .map(({ seq }) => `got update ${seq} while it was shut out`),
    ...record.certificates
      .filter(({ createdAt }) => Date.parse(createdAt) > span.from && Date.parse(createdAt) < span.to)
      .map(({ serial }) => `got certificate ${serial} while it was shut out`),
  ]);

const overlap = (a: Span, b: Span): number => Math.min(a.to, b.to) - Math.max(a.from, b.from);

/** I11. Only who signed off may depend on what is destroyed. */
const isNotBereft: Judgement = ({ history }, { keySets, signedOff }) =>
  signedOff.has(history.plan.id)
    ? []
    : keySets.flatMap(({ name, versions }) =>
        versions.flatMap(({ version, destroyedAt }) => {
          if (destroyedAt === null) return [];
          const uses = history.used.filter((span) => span.keySet === name && span.version === version);
          return coversMoment(uses, Date.parse(destroyedAt)) ? [`used ${name} ${version} when it was destroyed`] : [];
        }),
      );

/** In the place of the key-encryption key of a version whose bytes only devices hold: who lacks it cannot be given it. */
const LOST = 'lost';

/** Held as the gateway wants it: by the state of each version, not by what the device was sent. */
export function heldDifferenceOf(
  { trustVersion, keyrings, plan }: Observation,
  keySets: readonly KeySetView[],
  trust: TrustVersion | undefined,
): string | undefined {
  if (trustVersion !== trust) return `it holds trust ${trustVersion ?? 'none'}, and should hold ${trust ?? 'none'}`;
  const wrong = keySets.flatMap(({ name, selector, activeVersion, versions }) => {
    const keyring = keyrings.get(name);
    if (!selects(selector, plan.row)) return keyring === undefined ? [] : [`${name} is not meant for it`];
    const accepted = keyring?.versions.filter(({ state }) => state !== 'retired').map(({ version }) => version) ?? [];
    const valid = versions.filter(
      ({ state, retiredAt }) => state === 'active' || (state === 'deactivated' && retiredAt === null),
    );
    const wanted = valid.filter(({ kek }) => kek !== LOST).map(({ version }) => version);
    const allowed = new Set(valid.map(({ version }) => version));
    const isSame =
      wanted.every((version) => accepted.includes(version)) && accepted.every((version) => allowed.has(version));
    if (keyring?.active === activeVersion && isSame) return [];
    return [
      `${name}: uses ${keyring?.active ?? 'none'} of ${accepted.join(', ')}, should use ${activeVersion ?? 'none'} of ${wanted.join(', ')}`,
    ];
  });
  return wrong.length === 0 ? undefined : wrong.join('; ');
}

/** Desired, reported and held of one device, or that it is shut out as it should be. */
const isInStep: Judgement = ({ device, record }, { contained, keySets, trust }) => {
  const what = contained.has(device.plan.id)
    ? containedDifferenceOf(device, record)
    : (heldDifferenceOf(device, keySets, trust) ?? differenceOf(device, record));
  return what === undefined ? [] : [what];
};

const PER_DEVICE: readonly (readonly [InvariantResult['id'], string, Judgement])[] = [
  ['I1', 'every certificate has a record from before its signature', hasRecords],
  ['I3', 'no device needed more messages than a bound', isBounded],
  ['I5', 'no device went back in trust, sequence or versions', neverGoesBack],
  ['I6', 'nothing was used before its activation, or where a service refuses it', isActivatedInOrder],
  ['I9', 'who was shut out had no connection and got nothing', isShutOut],
  ['I11', 'nothing was destroyed under a device that depends on it', isNotBereft],
  ['sync', 'desired, reported and held are the same', isInStep],
];

/** Every invariant, with whom it does not hold for. */
export function judgeInvariants(evidence: Evidence): readonly InvariantResult[] {
  const { devices, audit } = evidence;
  const results = PER_DEVICE.map(([id, what, judge]) => ({
    id,
    what,
    checked: devices.length,
    violations: devices.flatMap((one) =>
      judge(one, evidence).map((text) => ({ device: one.history.plan.id, what: text })),
    ),
  }));
  const trail: InvariantResult = {
    id: 'I7',
    what: 'the audit trail verifies',
    checked: audit.records,
    violations: audit.verified ? [] : [{ device: null, what: audit.fault ?? 'it does not verify' }],
  };
  return [...results, trail].sort((a, b) => rank(a.id) - rank(b.id));
}

const rank = (id: InvariantResult['id']): number => (id === 'sync' ? 0 : Number(id.slice(1)));
