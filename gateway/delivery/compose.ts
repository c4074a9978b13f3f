/** From a planned update to signed bytes: seal, compose, record, sign. */
import { createHash } from 'node:crypto';
import { prepareRecipient, sealFor, type Recipient } from '#pki/cms/envelope.ts';
import { signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { keyCheckValue } from '#pki/keys/kcv.ts';
import { encodeKeyPackage } from '#pki/keys/key-package.ts';
import { CroupierError } from '#schema/errors.ts';
import { Seq, Sha256, type DeviceId, type KeyVersionNumber, type Realm } from '#schema/ids.ts';
import { MESSAGE_VERSION } from '#schema/messages/common.ts';
import type { KeyDelivery, KeyringUpdate, Update } from '#schema/messages/update.ts';
import type { WorkingKeys } from '#gateway/keys/working-key.ts';
import type { PlannedKeyring, PlannedUpdate, RecordedUpdate } from '#gateway/ports/store/delivery.ts';

export interface ComposedUpdate {
  readonly record: RecordedUpdate;
  /** The update's JSON, UTF-8: what is signed. */
  readonly body: Uint8Array;
}

interface Sealing {
  readonly realm: Realm;
  readonly keys: WorkingKeys;
}

async function sealVersion(
  sealing: Sealing,
  ring: PlannedKeyring,
  number: KeyVersionNumber,
  device: DeviceId,
  recipient: Recipient,
): Promise<KeyDelivery> {
  const { keySet } = ring;
  const version = keySet.versions.find((entry) => entry.version === number);
  if (version === undefined)
    throw new CroupierError('keyset.version-not-found', `${keySet.name} has no version ${number}`);
  return sealing.keys.use(keySet, version, device, (key) => {
    const clear = encodeKeyPackage({ device, keySet: keySet.name, version: number, key });
    try {
      return {
        version: number,
        algorithm: keySet.algorithm,
        use: keySet.use,
        kcv: keyCheckValue(key),
        envelope: Buffer.from(sealFor(recipient, clear)).toString('base64'),
      };
    } finally {
      clear.fill(0);
    }
  });
}

/**
 * Seals the keys of a planned update to the device's certificate and writes its body. Nothing is signed yet.
 * Errors: `hsm.unavailable`, `hsm.unwrap-failed`.
 */
export async function composeUpdate(
  sealing: Sealing,
  planned: PlannedUpdate,
  now: Date,
  validityMs: number,
): Promise<ComposedUpdate> {
  const { device, identity } = planned;
  if (identity.der === undefined)
    throw new CroupierError('internal.unexpected', `certificate ${identity.serial} is not signed`);
  const needsKeys = planned.keyrings.some((ring) => ring.deliver.length > 0);
  const recipient = needsKeys ? prepareRecipient(identity.der) : undefined;
  const keyrings: KeyringUpdate[] = [];
  const offered: RecordedUpdate['offered'][number][] = [];
  for (const ring of planned.keyrings) {
    const keys: KeyDelivery[] = [];
    for (const number of ring.deliver) {
      if (recipient === undefined) continue;
      const delivery = await sealVersion(sealing, ring, number, device.id, recipient);
      keys.push(delivery);
      offered.push({ keySet: ring.keySet.name, version: number, kcv: delivery.kcv });
    }
    keyrings.push({
      keySet: ring.keySet.name,
      revision: ring.revision,
      active: ring.active,
      accept: [...ring.accept],
      destroy: [...ring.destroy],
      keys,
    });
  }
  const update: Update = {
    v: MESSAGE_VERSION,
    type: 'update',
    realm: sealing.realm,
    device: device.id,
    seq: Seq.parse(planned.seq),
    issuedAt: now.toISOString(),
    // Devices may have learned a time that the clock showed before it was set back. Sequence numbers remember it.
    expiresAt: new Date(Math.max(now.getTime(), planned.seq) + validityMs).toISOString(),
    nonce: planned.nonce ?? null,
    trustVersion: planned.trustVersion,
    keyrings,
    ...(planned.renew === undefined
      ? {}
      : { renew: { by: planned.renew.by.toISOString(), reason: planned.renew.reason } }),
    time: now.toISOString(),
  };
  const body = Buffer.from(JSON.stringify(update), 'utf8');
  const sha256 = Sha256.parse(createHash('sha256').update(body).digest('hex'));
  return { record: { device: device.id, seq: planned.seq, sha256, issuedAt: now, offered }, body };
}

/** Signs a recorded update: CMS SignedData, DER. Errors: `hsm.unavailable`. */
export function signUpdate(composed: ComposedUpdate, by: MessageSigner): Promise<Uint8Array> {
  return signMessage(composed.body, by);
}
