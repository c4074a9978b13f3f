/** An update as the device reads it; what the gateway's compose seals and signs, in clear. */
import type { PlannedUpdate } from '#gateway/ports/store/delivery.ts';
import { Seq, type Realm } from '#schema/ids.ts';
import type { KeyringUpdate, Update } from '#schema/messages/update.ts';
import { deliveryOf } from './key-versions.ts';
import type { SentUpdate } from './node.ts';
import { digestAt, minuteOf } from './stand-ins.ts';

function keyringOf({
  keySet,
  revision,
  active,
  accept,
  destroy,
  deliver,
}: PlannedUpdate['keyrings'][number]): KeyringUpdate {
  const keys = deliver.flatMap((version) => {
    const record = keySet.versions.find((entry) => entry.version === version);
    return record?.wrapped === undefined ? [] : [deliveryOf(keySet, record)];
  });
  return { keySet: keySet.name, revision, active, accept: [...accept], destroy: [...destroy], keys };
}

export function composeModelUpdate(realm: Realm, planned: PlannedUpdate, now: Date, validity: number): SentUpdate {
  const time = minuteOf(now.getTime());
  const { renew } = planned;
  const update: Update = {
    v: 1,
    type: 'update',
    realm,
    device: planned.device.id,
    seq: Seq.parse(planned.seq),
    issuedAt: time,
    expiresAt: minuteOf(now.getTime() + validity),
    nonce: planned.nonce ?? null,
    trustVersion: planned.trustVersion,
    keyrings: planned.keyrings.map(keyringOf),
    ...(renew === undefined ? {} : { renew: { by: renew.by.toISOString(), reason: renew.reason } }),
    time,
  };
  return {
    update,
    // One for all: an update is told from another by its number.
    digest: digestAt(0),
    linksFrom: planned.trustFrom,
    linksTo: planned.trustVersion,
  };
}
