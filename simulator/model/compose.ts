/** An update as the device reads it; what the gateway's compose seals and signs, in clear. */
import type { PlannedUpdate } from '#gateway/ports/store/delivery.ts';
import { Seq, Sha256, type Realm } from '#schema/ids.ts';
import type { KeyringUpdate, Update } from '#schema/messages/update.ts';
import { deliveryOf } from './key-versions.ts';
import type { SentUpdate } from './node.ts';

const DIGEST_DIGITS = 64;

function keyringOf({ keySet, revision, active, accept, destroy, deliver }: PlannedUpdate['keyrings'][number]): KeyringUpdate {
  const keys = deliver.flatMap((version) => {
    const record = keySet.versions.find((entry) => entry.version === version);
    return record?.wrapped === undefined ? [] : [deliveryOf(keySet, record)];
  });
  return { keySet: keySet.name, revision, active, accept: [...accept], destroy: [...destroy], keys };
}

export function composeModelUpdate(realm: Realm, planned: PlannedUpdate, now: Date, validity: number): SentUpdate {
  const time = now.toISOString();
  const { renew } = planned;
  const update: Update = {
    v: 1,
    type: 'update',
    realm,
    device: planned.device.id,
    seq: Seq.parse(planned.seq),
    issuedAt: time,
    expiresAt: new Date(now.getTime() + validity).toISOString(),
    nonce: planned.nonce ?? null,
    trustVersion: planned.trustVersion,
    keyrings: planned.keyrings.map(keyringOf),
    ...(renew === undefined ? {} : { renew: { by: renew.by.toISOString(), reason: renew.reason } }),
    time,
  };
  return {
    update,
    digest: Sha256.parse(planned.seq.toString(16).padStart(DIGEST_DIGITS, '0')),
    linksFrom: planned.trustFrom,
    linksTo: planned.trustVersion,
  };
}
