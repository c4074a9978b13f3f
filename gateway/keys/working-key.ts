/**
 * Values of key versions: made by the HSM's random generator, kept wrapped under the KEK, clear only in buffers that
 * are wiped by whoever asked for them (I2).
 */
import { hkdfSync } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId, KeySetName, KeyVersionNumber, Realm } from '#schema/ids.ts';
import type { WorkingKeyAlgorithm } from '#schema/messages/common.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { keyCheckValue } from '#pki/keys/kcv.ts';
import type { KeySetRecord, KeyVersionRecord } from '#gateway/ports/store/records.ts';

/** Label of the key encryption key in the HSM. */
export const KEK_LABEL = 'kek-1';

const KEY_BYTES: Readonly<Record<WorkingKeyAlgorithm, number>> = { 'AES-128': 16, 'AES-256': 32, 'HMAC-SHA256': 32 };

/** Binds a wrapped value to its place, so that one cannot be put where another belongs. */
function placeOf(realm: Realm, keySet: KeySetName, version: KeyVersionNumber): Uint8Array {
  return Buffer.from(`croupier/${realm}/${keySet}/${version}`, 'utf8');
}

export interface PreparedKey {
  readonly wrapped: Uint8Array;
  readonly kek: string;
  readonly kcv: string;
}

/** Draws a new value in the HSM and wraps it. Errors: `hsm.unavailable`. */
export async function prepareWorkingKey(
  keyStore: KeyStore,
  realm: Realm,
  keySet: Pick<KeySetRecord, 'name' | 'algorithm'>,
  version: KeyVersionNumber,
): Promise<PreparedKey> {
  const clear = await keyStore.random(KEY_BYTES[keySet.algorithm]);
  try {
    const wrapped = await keyStore.wrap(KEK_LABEL, clear, placeOf(realm, keySet.name, version));
    return { wrapped, kek: KEK_LABEL, kcv: keyCheckValue(clear) };
  } finally {
    clear.fill(0);
  }
}

/**
 * Unwraps a version for one device and hands it to `use`; the bytes are wiped when that returns. A `per-device` key is
 * HKDF-SHA-256 of the version's master with realm, key set, version and device as info (RFC 5869).
 */
export async function withWorkingKey<Result>(
  keyStore: KeyStore,
  realm: Realm,
  keySet: KeySetRecord,
  version: KeyVersionRecord,
  device: DeviceId,
  use: (key: Uint8Array) => Result,
): Promise<Result> {
  if (version.wrapped === undefined) {
    throw new CroupierError('keyset.state-refused', `${keySet.name} version ${version.version} is destroyed`);
  }
  const master = await keyStore.unwrap(version.kek, version.wrapped, placeOf(realm, keySet.name, version.version));
  if (keySet.scope === 'shared') {
    try {
      return use(master);
    } finally {
      master.fill(0);
    }
  }
  const info = Buffer.concat([placeOf(realm, keySet.name, version.version), Buffer.from(`/${device}`, 'utf8')]);
  const derived = new Uint8Array(hkdfSync('sha256', master, new Uint8Array(0), info, KEY_BYTES[keySet.algorithm]));
  master.fill(0);
  try {
    return use(derived);
  } finally {
    derived.fill(0);
  }
}
