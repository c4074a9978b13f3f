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
 * Key versions in clear for as long as one batch of updates is sealed: each is unwrapped once, however many devices get
 * it. Whoever makes one wipes it.
 */
export class WorkingKeys {
  private readonly keyStore: KeyStore;
  private readonly realm: Realm;
  private readonly masters = new Map<string, Promise<Uint8Array>>();

  constructor(keyStore: KeyStore, realm: Realm) {
    this.keyStore = keyStore;
    this.realm = realm;
  }

  /**
   * Hands a version's value for one device to `use`, which must not keep it. A `per-device` key is HKDF-SHA-256 of the
   * version's master with realm, key set, version and device as info (RFC 5869). Errors: `hsm.unavailable`,
   * `hsm.unwrap-failed`, `keyset.state-refused` for a destroyed version.
   */
  async use<Result>(
    keySet: KeySetRecord,
    version: KeyVersionRecord,
    device: DeviceId,
    use: (key: Uint8Array) => Result,
  ): Promise<Result> {
    const place = placeOf(this.realm, keySet.name, version.version);
    const master = await this.master(keySet, version, place);
    if (keySet.scope === 'shared') return use(master);
    const info = Buffer.concat([place, Buffer.from(`/${device}`, 'utf8')]);
    const derived = new Uint8Array(hkdfSync('sha256', master, new Uint8Array(0), info, KEY_BYTES[keySet.algorithm]));
    try {
      return use(derived);
    } finally {
      derived.fill(0);
    }
  }

  /** Overwrites all of them, those that are still on their way included. */
  async wipe(): Promise<void> {
    const unwrapped = await Promise.allSettled(this.masters.values());
    this.masters.clear();
    for (const master of unwrapped) if (master.status === 'fulfilled') master.value.fill(0);
  }

  private master(keySet: KeySetRecord, version: KeyVersionRecord, place: Uint8Array): Promise<Uint8Array> {
    const name = `${keySet.name}/${version.version}`;
    const known = this.masters.get(name);
    if (known !== undefined) return known;
    if (version.wrapped === undefined) {
      throw new CroupierError('keyset.state-refused', `${keySet.name} version ${version.version} is destroyed`);
    }
    const master = this.keyStore.unwrap(version.kek, version.wrapped, place);
    this.masters.set(name, master);
    return master;
  }
}
