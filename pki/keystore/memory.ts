/**
 * A KeyStore in memory: a working fake for unit tests and virtual-time models. It signs and wraps for real, forgets
 * everything with the process, and can be made unavailable. Never use it for keys that matter.
 */
import { Buffer } from 'node:buffer';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { RANDOM_LIMIT, WRAP_LIMIT, requireHsmAlgorithm, requireLabel, requireLength } from './hsm-algorithms.ts';
import type { KeyStore, KeyStoreHealth } from './port.ts';
import { GCM_IV_LENGTH, GCM_TAG_LENGTH, decodeBlob, encodeBlob, unwrapFailed } from './wrapped-blob.ts';

export interface MemoryKeyStoreOptions {
  /** For `health().since`. */
  readonly now?: () => Date;
  readonly random?: (length: number) => Uint8Array;
}

export interface MemoryKeyStore extends KeyStore {
  /** From now on every call fails with `hsm.unavailable`, as if the HSM were unplugged. Keys stay. */
  disconnect(reason: string, retryAfter?: number): void;
  reconnect(): void;
}

type Entry =
  | { readonly kind: 'signing'; readonly signer: Signer }
  | { readonly kind: 'wrapping'; readonly key: Uint8Array };

export function createMemoryKeyStore(options: MemoryKeyStoreOptions = {}): MemoryKeyStore {
  const { now = () => new Date(), random = randomBytes } = options;
  const keys = new Map<string, Entry>();
  const reserved = new Set<string>();
  let operations = 0;
  let outage: { readonly since: Date; readonly reason: string; readonly retryAfter: number } | undefined;

  function operate(): void {
    if (outage !== undefined) {
      throw new CroupierError('hsm.unavailable', `the HSM does not answer: ${outage.reason}`, {
        retryAfter: outage.retryAfter,
      });
    }
    operations += 1;
  }

  function entry<K extends Entry['kind']>(label: string, kind: K): Extract<Entry, { kind: K }> {
    const found = keys.get(label);
    if (found === undefined || found.kind !== kind) {
      throw new CroupierError('hsm.key-not-found', `the HSM has no ${kind} key ${label}`);
    }
    return found as Extract<Entry, { kind: K }>;
  }

  async function create(label: string, make: () => Promise<Entry>): Promise<void> {
    requireLabel(label);
    operate();
    if (keys.has(label) || reserved.has(label))
      throw new CroupierError('hsm.key-exists', `the HSM has a key ${label} already`);
    reserved.add(label);
    try {
      keys.set(label, await make());
    } finally {
      reserved.delete(label);
    }
  }

  function signerFor(label: string): Signer {
    const { signer } = entry(label, 'signing');
    const { algorithm, spki } = signer;
    const sign = async (data: Uint8Array): Promise<Uint8Array> => {
      operate();
      if (entry(label, 'signing').signer !== signer) {
        throw new CroupierError('hsm.key-not-found', `the HSM has no longer the key that was loaded as ${label}`);
      }
      return signer.sign(data);
    };
    return { algorithm, spki, sign };
  }

  return {
    async generateSigningKey(label: string, algorithm: KeyAlgorithm): Promise<Signer> {
      const supported = requireHsmAlgorithm(algorithm);
      await create(label, async () => ({ kind: 'signing', signer: (await generateSoftwareKey(supported)).signer }));
      return signerFor(label);
    },
    async signer(label: string): Promise<Signer> {
      requireLabel(label);
      operate();
      return signerFor(label);
    },
    async generateWrappingKey(label: string): Promise<void> {
      await create(label, async () => ({ kind: 'wrapping', key: random(32) }));
    },
    async wrap(label: string, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
      requireLabel(label);
      requireLength('key material to wrap', plaintext.length, 1, WRAP_LIMIT);
      requireLength('additional data of a wrapped key', aad.length, 0, WRAP_LIMIT);
      operate();
      const { key } = entry(label, 'wrapping');
      const iv = random(GCM_IV_LENGTH);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad);
      return encodeBlob(iv, Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
    },
    async unwrap(label: string, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
      requireLabel(label);
      requireLength('additional data of a wrapped key', aad.length, 0, WRAP_LIMIT);
      operate();
      const { key } = entry(label, 'wrapping');
      const { iv, sealed } = decodeBlob(wrapped);
      const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: GCM_TAG_LENGTH }).setAAD(aad);
      decipher.setAuthTag(sealed.subarray(-GCM_TAG_LENGTH));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(0, -GCM_TAG_LENGTH)), decipher.final()]);
      } catch (error) {
        throw unwrapFailed(label, error);
      }
    },
    async random(length: number): Promise<Uint8Array> {
      requireLength('random data', length, 1, RANDOM_LIMIT);
      operate();
      return random(length);
    },
    async labels(): Promise<readonly string[]> {
      operate();
      return [...keys.keys()].sort();
    },
    async destroy(label: string): Promise<void> {
      requireLabel(label);
      operate();
      if (!keys.delete(label)) throw new CroupierError('hsm.key-not-found', `the HSM has no key ${label}`);
    },
    health(): KeyStoreHealth {
      return outage === undefined
        ? { state: 'ready', sessions: 1, operations }
        : { state: 'unavailable', since: outage.since, reason: outage.reason };
    },
    async close(): Promise<void> {
      outage = { since: now(), reason: 'the key store is closed', retryAfter: 0 };
      keys.clear();
    },
    disconnect(reason: string, retryAfter = 5): void {
      outage = { since: now(), reason, retryAfter };
    },
    reconnect(): void {
      outage = undefined;
    },
  };
}
