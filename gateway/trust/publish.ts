/** Publishing the next trust bundle. */
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { Realm } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { trustTopic } from '#schema/topics.ts';
import type { Broker } from '#gateway/ports/broker.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import { chooseSigners, composeBundle, signBundle, type TrustAnchors } from './bundle.ts';

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

/** Puts the latest bundle on the retained topic. */
export async function announceTrust(broker: Broker, realm: Realm, bundle: TrustBundleRecord): Promise<void> {
  await broker.publish(trustTopic(realm), bundle.der, { retain: true });
}
