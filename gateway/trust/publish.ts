/** Publishing the next trust bundle. */
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { Realm } from '#schema/ids.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { trustTopic } from '#schema/topics.ts';
import type { Broker } from '#gateway/ports/broker.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
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

/**
 * Signs and stores version N+1. Devices learn it from their next update; the retained topic is only a quicker hint.
 * Errors: `message.signer-untrusted`, `trust.link-forked` when another publication came in between.
 */
export async function publishTrustBundle(ports: PublishPorts, publication: Publication): Promise<TrustBundleRecord> {
  const { store, clock, realm } = ports;
  const now = clock.now();
  const before = await store.latestTrustBundle();
  const body = composeBundle({
    realm,
    previous: before,
    anchors: publication.anchors,
    current: publication.current.certificate,
    standby: publication.standby?.certificate,
    now,
    validityMs: ports.policy().trust.validity,
  });
  const available =
    publication.standby === undefined ? [publication.current] : [publication.current, publication.standby];
  const bundle = await signBundle(body, chooseSigners(before?.body, body, available));
  await store.appendTrustBundle(bundle, now, {
    action: 'trust.publish',
    outcome: 'success',
    actor: publication.actor,
    object: { type: 'trust-bundle', id: String(bundle.version) },
    ...(publication.approval === undefined ? {} : { approval: publication.approval }),
    details: { sha256: bundle.sha256, purposes: Object.keys(body.anchors) },
  });
  return bundle;
}

export interface NextBundlePorts extends PublishPorts {
  readonly authorities: () => Authorities;
  readonly onPublished: (bundle: TrustBundleRecord) => void;
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

/**
 * Publishes what is trusted as of now: the authorities in use, and the operator's own purposes with `changes` (DER,
 * base64; an empty list removes one). Errors: those of `publishTrustBundle`, `hsm.*`.
 */
export async function publishNextBundle(
  ports: NextBundlePorts,
  who: Pick<Publication, 'actor' | 'approval'>,
  changes: Readonly<Record<string, readonly string[]>> = {},
): Promise<TrustBundleRecord> {
  const { anchors, messageSigner, standbySigner } = ports.authorities();
  const before = await ports.store.latestTrustBundle();
  const bundle = await publishTrustBundle(ports, {
    anchors: { ...anchors, others: mergeAnchors(before?.body, changes) },
    current: messageSigner,
    standby: standbySigner,
    actor: who.actor,
    approval: who.approval,
  });
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

/** Puts the latest bundle on the retained topic. */
export async function announceTrust(broker: Broker, realm: Realm, bundle: TrustBundleRecord): Promise<void> {
  await broker.publish(trustTopic(realm), bundle.der, { retain: true });
}
