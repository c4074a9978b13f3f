/** Publishing the next trust bundle. */
import { createHash } from 'node:crypto';
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId, Sha256, type Realm } from '#schema/ids.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { Policy } from '#schema/policy.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { trustTopic } from '#schema/topics.ts';
import type { Broker } from '#gateway/ports/broker.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutRecord, TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { StartOutcome } from '#gateway/ports/store/rollouts.ts';
import { ended, newRollout, startDetails, type StartTerms } from '#gateway/rollout/begin.ts';
import { rolloutEvent } from '#gateway/rollout/decide.ts';
import type { PlannedChange } from '#gateway/rollout/plan.ts';
import { checkedPlan, planned, type AskedTerms } from '#gateway/rollout/planning.ts';
import type { Authorities } from './authorities.ts';
import { chooseSigners, composeBundle, messageSignersOf, signBundle, type TrustAnchors } from './bundle.ts';

export interface PublishPorts {
  readonly realm: Realm;
  readonly store: Store;
  readonly clock: Clock;
  readonly policy: () => Policy;
}

export interface Publication {
  readonly anchors: TrustAnchors;
  readonly current: MessageSigner;
  readonly standby: MessageSigner | undefined;
  readonly actor: AuditActor;
  readonly approval: AuditEvent['approval'];
}

/** The body of the next bundle, as of now. */
async function nextBody(
  { store, realm, clock, policy }: PublishPorts,
  { anchors, current, standby }: Pick<Publication, 'anchors' | 'current' | 'standby'>,
): Promise<{ readonly before: TrustBundleRecord | undefined; readonly body: TrustBundle }> {
  const before = await store.latestTrustBundle();
  const body = composeBundle({
    realm,
    previous: before,
    anchors,
    current: current.certificate,
    standby: standby?.certificate,
    now: clock.now(),
    validityMs: policy().trust.validity,
  });
  return { before, body };
}

async function signNext(
  ports: PublishPorts,
  publication: Pick<Publication, 'anchors' | 'current' | 'standby'>,
): Promise<TrustBundleRecord> {
  const { current, standby } = publication;
  const { before, body } = await nextBody(ports, publication);
  return signBundle(body, chooseSigners(before?.body, body, standby === undefined ? [current] : [current, standby]));
}

type Details = NonNullable<AuditEvent['details']>;

function publicationEvent(
  bundle: TrustBundleRecord,
  { actor, approval }: Pick<Publication, 'actor' | 'approval'>,
  details: Details = {},
) {
  return {
    action: 'trust.publish',
    outcome: 'success' as const,
    actor,
    object: { type: 'trust-bundle', id: String(bundle.version) },
    ...(approval === undefined ? {} : { approval }),
    details: { sha256: bundle.sha256, purposes: Object.keys(bundle.body.anchors), ...details },
  };
}

/**
 * Signs and stores version N+1 for everybody at once, without a rollout: the first bundle of a realm. Errors:
 * `message.signer-untrusted`, `trust.link-forked` when another publication came in between.
 */
export async function publishTrustBundle(ports: PublishPorts, publication: Publication): Promise<TrustBundleRecord> {
  const bundle = await signNext(ports, publication);
  await ports.store.appendTrustBundle(bundle, ports.clock.now(), publicationEvent(bundle, publication));
  return bundle;
}

export interface NextBundlePorts extends PublishPorts {
  readonly random: Random;
  readonly authorities: () => Authorities;
  /** Keeps the link where a lost database cannot take it along, before anybody is told of it. */
  readonly keep?: (bundle: TrustBundleRecord) => Promise<void>;
  /** It is on its way by a rollout, or released already. */
  readonly onPublished: (bundle: TrustBundleRecord) => void;
}

/** How the next bundle reaches the devices. */
export interface PublicationTerms extends AskedTerms {
  /** To everybody now: what a compromised signer could do must not wait for waves. */
  readonly atOnce?: boolean;
  readonly reason?: string | undefined;
}

const REALM_PURPOSES = ['identity', 'transport', 'messages'] as const;
const isRealmPurpose = (purpose: string): boolean => REALM_PURPOSES.some((one) => one === purpose);

/** The operator's purposes of the bundle before, with those of the request put over them. */
export function mergeAnchors(
  before: TrustBundle | undefined,
  changes: Readonly<Record<string, readonly string[]>>,
): TrustAnchors['others'] {
  const kept = Object.entries(before?.anchors ?? {}).filter(([purpose]) => !isRealmPurpose(purpose));
  const merged = new Map<string, readonly string[]>([...kept, ...Object.entries(changes)]);
  return Object.fromEntries(
    [...merged]
      .filter(([, list]) => list.length > 0)
      .map(([purpose, list]) => [purpose, list.map((der) => Buffer.from(der, 'base64'))]),
  );
}

function nextPublication(
  { authorities }: Pick<NextBundlePorts, 'authorities'>,
  before: TrustBundleRecord | undefined,
  changes: Readonly<Record<string, readonly string[]>>,
): Pick<Publication, 'anchors' | 'current' | 'standby'> {
  const { anchors, messageSigner, standbySigner } = authorities();
  return {
    anchors: { ...anchors, others: mergeAnchors(before?.body, changes) },
    current: messageSigner,
    standby: standbySigner,
  };
}

function changeOf(from: TrustBundleRecord, { version, anchors, messageSigners }: TrustBundle): PlannedTrust {
  const what = canonicalJson({ anchors, messageSigners });
  const anchorsSha256 = Sha256.parse(createHash('sha256').update(what, 'utf8').digest('hex'));
  return { kind: 'trust-bundle', fromVersion: from.version, toVersion: version, anchorsSha256 };
}

type PlannedTrust = Extract<PlannedChange, { readonly kind: 'trust-bundle' }>;

/** What publishing now would roll out. Errors: `trust.not-found` before the first bundle. */
export async function nextTrustChange(
  ports: NextBundlePorts,
  changes: Readonly<Record<string, readonly string[]>> = {},
): Promise<PlannedTrust> {
  const latest = await ports.store.latestTrustBundle();
  const { before, body } = await nextBody(ports, nextPublication(ports, latest, changes));
  if (before === undefined) throw new CroupierError('trust.not-found', 'the realm has no trust bundle yet');
  return changeOf(before, body);
}

/**
 * A number is given once: where devices hold links that the gateway has lost, or may hold them since it was restored and
 * nobody has told yet, the next bundle would fork the chain for ever.
 */
async function refuseUncertain(store: Store, latest: TrustBundleRecord): Promise<void> {
  const ahead = await store.devicesAhead(latest.version);
  if (ahead !== undefined) {
    const others = ahead.devices > 1 ? ` and ${ahead.devices - 1} more devices are ahead, too` : '';
    throw new CroupierError(
      'trust.link-missing',
      `${ahead.first} holds trust bundle ${ahead.highest}, the gateway ${latest.version}${others}: take in the links between first (croupier trust import), or contain the device if it lies`,
    );
  }
  const restoration = await store.restoration();
  if (restoration !== undefined && !(await store.isHeardSince(restoration.at))) {
    throw new CroupierError(
      'trust.link-missing',
      `the database was restored from a backup at ${restoration.at.toISOString()}, and no device has reported since: nobody knows yet which trust bundles are out; wait for a report`,
    );
  }
}

function startOf(
  bundle: TrustBundleRecord,
  change: PlannedTrust,
  terms: StartTerms,
  atOnce: boolean,
  open: readonly RolloutRecord[],
): StartOutcome {
  const { at } = terms;
  const { fromVersion, toVersion } = change;
  const approved = newRollout({ kind: 'trust-bundle', fromVersion, toVersion }, terms);
  const rollout: RolloutRecord = atOnce
    ? { ...approved, state: 'active', waveOpenedAt: at, activatedAt: at }
    : approved;
  const others = open.filter(({ kind }) => kind === 'trust-bundle').map((one) => ended(one, 'superseded', at));
  return {
    kind: 'start',
    rollout,
    version: undefined,
    bundle,
    versions: [],
    others,
    audit: [
      publicationEvent(bundle, terms, startDetails(terms)),
      ...others.map((one) => rolloutEvent(one, 'rollout.superseded', terms.actor, { by: rollout.id })),
    ],
  };
}

/**
 * Publishes what is trusted as of now: the authorities in use, and the operator's own purposes with `changes` (DER,
 * base64; an empty list removes one). A rollout brings it to the devices; bundles that are on their way are superseded,
 * since devices walk through them. Errors: `trust.link-missing` when the gateway may lack links that devices hold,
 * `message.signer-untrusted`, `trust.link-forked`, `rollout.plan-*`, `hsm.*`.
 */
export async function publishNextBundle(
  ports: NextBundlePorts,
  who: Pick<Publication, 'actor' | 'approval'>,
  changes: Readonly<Record<string, readonly string[]>> = {},
  { atOnce = false, ...asked }: PublicationTerms = {},
): Promise<TrustBundleRecord> {
  const { store, clock, random } = ports;
  const before = await store.latestTrustBundle();
  const publication = nextPublication(ports, before, changes);
  if (before === undefined) {
    const first = await publishTrustBundle(ports, { ...publication, ...who });
    await ports.keep?.(first);
    ports.onPublished(first);
    return first;
  }
  await refuseUncertain(store, before);
  const bundle = await signNext(ports, publication);
  const change = changeOf(before, bundle.body);
  const terms = atOnce ? planned(ports, change, asked) : await checkedPlan(ports, change, asked);
  const at = clock.now();
  const { actor, approval } = who;
  const start = { ...terms, rollout: RolloutId.parse(random.uuid()), actor, approval, reason: asked.reason, at };
  const outcome = await store.startRollout(undefined, at, ({ open }) => startOf(bundle, change, start, atOnce, open));
  if (outcome.kind === 'refuse') throw outcome.error;
  await ports.keep?.(bundle);
  ports.onPublished(bundle);
  return bundle;
}

/** Whether the latest bundle names exactly the authorities in use. Pure. */
export function isUpToDate(latest: TrustBundleRecord | undefined, authorities: Authorities): boolean {
  if (latest === undefined) return false;
  const { anchors, messageSigner, standbySigner } = authorities;
  const isSame = (found: readonly string[], wanted: readonly string[]): boolean =>
    found.length === wanted.length && wanted.every((one) => found.includes(one));
  const named = (list: readonly Uint8Array[]): string[] => list.map((der) => Buffer.from(der).toString('base64'));
  const keys = (entries: TrustBundle['messageSigners']): string[] =>
    entries.map(({ role, spkiSha256 }) => `${role} ${spkiSha256}`);
  const signers = messageSignersOf(messageSigner.certificate, standbySigner?.certificate);
  return (
    REALM_PURPOSES.every((purpose) => isSame(latest.body.anchors[purpose], named(anchors[purpose]))) &&
    isSame(keys(latest.body.messageSigners), keys(signers))
  );
}

/** Puts a released bundle on the retained topic. */
export async function announceTrust(broker: Broker, realm: Realm, bundle: TrustBundleRecord): Promise<void> {
  await broker.publish(trustTopic(realm), bundle.der, { retain: true });
}
