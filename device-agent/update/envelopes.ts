/** Opening the envelopes of an update whose signature has been verified. */
import { Buffer } from 'node:buffer';
import { timingSafeEqual } from 'node:crypto';
import { openEnvelope, type EnvelopeRecipient } from '#pki/cms/envelope.ts';
import { keyCheckValue } from '#pki/keys/kcv.ts';
import { decodeKeyPackage } from '#pki/keys/key-package.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { DeviceId, KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { WorkingKeyAlgorithm } from '#schema/messages/common.ts';
import type { HeldKeyring } from '../state/state.ts';
import type { KeyDelivery, Update } from '#schema/messages/update.ts';

const OCTETS: Readonly<Record<WorkingKeyAlgorithm, number>> = { 'AES-128': 16, 'AES-256': 32, 'HMAC-SHA256': 32 };

/** The gateway seals for the certificate it knows, which around a renewal may be either of two. */
function openForAny(der: Uint8Array, recipients: readonly EnvelopeRecipient[]): Uint8Array {
  let failure: unknown = new CroupierError('envelope.wrong-recipient', 'the device has no certificate');
  for (const recipient of recipients) {
    try {
      return openEnvelope(der, recipient);
    } catch (error) {
      failure = error;
      if (errorCode(error) !== 'envelope.wrong-recipient') break;
    }
  }
  throw failure;
}

function keyOf(clear: Uint8Array, device: DeviceId, keySet: KeySetName, delivery: KeyDelivery): Uint8Array {
  const { version, algorithm, kcv } = delivery;
  const what = `key set ${keySet}, version ${version}`;
  const content = decodeKeyPackage(clear);
  if (content.device !== device || content.keySet !== keySet || content.version !== version) {
    throw new CroupierError('envelope.mismatch', `${what}: the envelope holds another key`);
  }
  if (content.key.length !== OCTETS[algorithm]) {
    throw new CroupierError('envelope.mismatch', `${what}: the key has not the length of ${algorithm}`);
  }
  if (!timingSafeEqual(Buffer.from(keyCheckValue(content.key)), Buffer.from(kcv))) {
    throw new CroupierError('key.kcv-mismatch', `${what}: the key does not match its check value`);
  }
  // Not from Buffer's pool, so that wiping it is enough.
  const key = Buffer.allocUnsafeSlow(content.key.length);
  key.set(content.key);
  return key;
}

function openDelivery(
  delivery: KeyDelivery,
  device: DeviceId,
  keySet: KeySetName,
  recipients: readonly EnvelopeRecipient[],
): Uint8Array {
  const clear = openForAny(Buffer.from(delivery.envelope, 'base64'), recipients);
  try {
    return keyOf(clear, device, keySet, delivery);
  } finally {
    clear.fill(0);
  }
}

/** Overwrites the opened keys that are not in `held` (the same bytes, not a copy). */
export function wipe(
  opened: ReadonlyMap<KeySetName, ReadonlyMap<KeyVersionNumber, Uint8Array>>,
  held: readonly HeldKeyring[] = [],
): void {
  const kept = new Set(held.flatMap(({ versions }) => versions.map(({ key }) => key)));
  for (const keys of opened.values()) for (const key of keys.values()) if (!kept.has(key)) key.fill(0);
}

/**
 * Opens every envelope of `update`. On return each key was sealed for one of `recipients`, its clear content names this
 * device, key set and version, it has the length of its algorithm and matches its check value. If one fails, all that
 * were opened are wiped. Errors: `envelope.*`, `key.kcv-mismatch`, `input.too-large`.
 */
export function openEnvelopes(
  update: Update,
  recipients: readonly EnvelopeRecipient[],
): Map<KeySetName, Map<KeyVersionNumber, Uint8Array>> {
  const opened = new Map<KeySetName, Map<KeyVersionNumber, Uint8Array>>();
  try {
    for (const { keySet, keys } of update.keyrings) {
      const versions = new Map<KeyVersionNumber, Uint8Array>();
      opened.set(keySet, versions);
      for (const delivery of keys) {
        versions.set(delivery.version, openDelivery(delivery, update.device, keySet, recipients));
      }
    }
    return opened;
  } catch (error) {
    wipe(opened);
    throw error;
  }
}
