/** The KeyStore on PKCS#11: any vendor's module, or SoftHSM2. */
import { Buffer } from 'node:buffer';
import pkcs11js, { type Handle } from 'pkcs11js';
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import { RANDOM_LIMIT, WRAP_LIMIT, requireHsmAlgorithm, requireLabel, requireLength } from '../hsm-algorithms.ts';
import type { KeyStore, KeyStoreHealth } from '../port.ts';
import { GCM_IV_LENGTH, decodeBlob, encodeBlob, unwrapFailed } from '../wrapped-blob.ts';
import type { BreakerPolicy } from './circuit-breaker.ts';
import { createConnection, type Circumstances } from './connection.ts';
import { TokenUnsound, decryptionVerdict } from './errors.ts';
import {
  AES_GCM,
  AES_GENERATION,
  SIGNING_KEY_REQUIREMENTS,
  SIGNING_SCHEMES,
  WRAPPING_KEY_REQUIREMENTS,
  findLabelled,
  findOnly,
  freshKeyId,
  keyLabels,
  privateKeyTemplate,
  publicKeyTemplate,
  readAttributes,
  readPublicHalf,
  requireAttributes,
  wrappingKeyTemplate,
  type PublicHalf,
} from './keys.ts';
import { acquireModule } from './module.ts';
import {
  gcmDecrypt,
  gcmEncrypt,
  generatePair,
  generateSecret,
  randomBytes,
  selfTest,
  sign,
  type SigningMode,
} from './operations.ts';
import type { PinSource } from './pin.ts';
import { createToken, requireLogin, type Session } from './token.ts';

export interface Pkcs11KeyStoreOptions {
  /** Path of the PKCS#11 module, e.g. `/usr/lib/softhsm/libsofthsm2.so`. */
  readonly module: string;
  readonly tokenLabel: string;
  readonly pin: PinSource;
  /**
   * Most sessions, hence most operations at once. Default 4. Each may hold one of libuv's threads for as long as the
   * HSM hangs, so keep it below UV_THREADPOOL_SIZE for an HSM on the network.
   */
  readonly sessions?: number;
  /** Most operations that wait for a session; above, `hsm.unavailable` at once. Default 2,000. */
  readonly queueLimit?: number;
  /** Deadline of an operation, waiting included. Default 5,000. */
  readonly operationTimeoutMs?: number;
  /** Deadline of a key generation. Default 60,000. */
  readonly generationTimeoutMs?: number;
  /** Where signatures are computed. Default `async`, which never blocks the event loop. */
  readonly signing?: SigningMode;
  /** Default: open after 3 consecutive failures; probe after 1 s, doubling to 30 s. */
  readonly breaker?: BreakerPolicy;
  readonly now?: () => Date;
  /** Told when the HSM goes away and when it is back. */
  readonly onHealthChange?: (health: KeyStoreHealth) => void;
}

const DEFAULT_BREAKER: BreakerPolicy = { threshold: 3, initialBackoffMs: 1_000, maximumBackoffMs: 30_000 };

/** Epoch of a handle that is void. */
const NO_EPOCH = -1;

/** A key that this store has loaded; its handle is valid within one epoch of one generation of the module. */
interface KnownKey {
  readonly label: string;
  readonly objectClass: number;
  readonly id: Buffer;
  readonly half: PublicHalf | undefined;
  handle: Handle;
  epoch: number;
  generation: number;
}

/**
 * Opens a token and logs in. Verified on return: the module loads, the token exists, the PIN is right. Keys are
 * checked when they are first used: attributes (never extractable, one purpose) and, for signing keys, a signature
 * over a probe that verifies with the public half.
 *
 * Lost sessions, a lost login, a restarted or replaced token are mended without the caller's help; a call that is
 * under way then is repeated. While the HSM is away every call fails at once with `hsm.unavailable` and
 * `retryAfter`, and a probe in the background finds out when it is back. An operation that outlives its deadline
 * fails, but goes on inside the HSM: a key may have been generated.
 *
 * Errors: `hsm.module-missing`, `hsm.token-absent`, `hsm.pin-wrong`, `hsm.unavailable`, `config.missing` (PIN file),
 * `config.invalid` (SoftHSM2 in use with another configuration).
 */
export async function openPkcs11KeyStore(options: Pkcs11KeyStoreOptions): Promise<KeyStore> {
  const { signing = 'async', generationTimeoutMs = 60_000 } = options;
  const module = acquireModule(options.module);
  const token = createToken(module, options.tokenLabel, options.pin);
  const known = new Map<string, KnownKey>();
  const signers = new Map<string, Signer>();
  const generating = new Set<string>();
  const connection = createConnection(module, token, probe, {
    sessions: options.sessions ?? 4,
    queueLimit: options.queueLimit ?? 2_000,
    operationTimeoutMs: options.operationTimeoutMs ?? 5_000,
    breaker: options.breaker ?? DEFAULT_BREAKER,
    now: options.now ?? (() => new Date()),
    onHealthChange: options.onHealthChange ?? (() => undefined),
  });

  /**
   * Believes the token that it does not hold something. A token whose storage has gone answers like an empty one, so
   * it must also be logged in, readable, and still hold a key that it held before.
   */
  function believeAbsence(session: Session, { fresh }: Circumstances): void {
    requireLogin(session);
    session.api.C_GetTokenInfo(session.slot);
    if (fresh || known.size === 0) return;
    for (const { label, objectClass } of known.values()) {
      if (findLabelled(session, label, objectClass).length > 0) return;
    }
    throw new TokenUnsound('it no longer shows any of the keys it held');
  }

  function notFound(label: string, kind: string): CroupierError {
    return new CroupierError('hsm.key-not-found', `HSM token ${token.label} has no ${kind} ${label}`, {
      detail: { label, token: token.label },
    });
  }

  function find(session: Session, circumstances: Circumstances, label: string, objectClass: number): Handle {
    const object = findOnly(session, label, objectClass);
    if (object !== undefined) return object;
    believeAbsence(session, circumstances);
    known.delete(label);
    signers.delete(label);
    throw notFound(label, objectClass === pkcs11js.CKO_PRIVATE_KEY ? 'signing key' : 'wrapping key');
  }

  /** The handle of a key loaded before, found again where sessions or module are new. */
  function handleOf(session: Session, circumstances: Circumstances, key: KnownKey): Handle {
    if (key.epoch === circumstances.epoch && key.generation === session.generation) return key.handle;
    const handle = find(session, circumstances, key.label, key.objectClass);
    const [id] = readAttributes(session, handle, [pkcs11js.CKA_ID]);
    if (id === undefined || !key.id.equals(id)) {
      known.delete(key.label);
      signers.delete(key.label);
      throw notFound(key.label, 'longer the key that was loaded as');
    }
    Object.assign(key, { handle, epoch: circumstances.epoch, generation: session.generation });
    return handle;
  }

  function remember(
    session: Session,
    circumstances: Circumstances,
    label: string,
    objectClass: number,
    handle: Handle,
    half: PublicHalf | undefined,
  ): KnownKey {
    const [id = Buffer.alloc(0)] = readAttributes(session, handle, [pkcs11js.CKA_ID]);
    const key = { label, objectClass, id, half, handle, epoch: circumstances.epoch, generation: session.generation };
    known.set(label, key);
    return key;
  }

  async function loadSigner(session: Session, circumstances: Circumstances, label: string): Promise<Signer> {
    const handle = find(session, circumstances, label, pkcs11js.CKO_PRIVATE_KEY);
    requireAttributes(session, label, handle, SIGNING_KEY_REQUIREMENTS);
    const half = readPublicHalf(session, label);
    const { algorithm, spki } = half;
    const { name, mechanism } = SIGNING_SCHEMES[algorithm].signing;
    token.requireMechanism(mechanism.mechanism, name);
    await selfTest(session, label, handle, half, signing);
    const key = remember(session, circumstances, label, pkcs11js.CKO_PRIVATE_KEY, handle, half);
    const signer: Signer = {
      algorithm,
      spki,
      sign: (data) =>
        connection.execute((session, circumstances) =>
          sign(session, handleOf(session, circumstances, key), algorithm, data, signing),
        ),
    };
    signers.set(label, signer);
    return signer;
  }

  function wrappingKey(session: Session, circumstances: Circumstances, label: string): Handle {
    token.requireMechanism(AES_GCM.mechanism.mechanism, AES_GCM.name);
    const loaded = known.get(label);
    if (loaded?.objectClass === pkcs11js.CKO_SECRET_KEY) return handleOf(session, circumstances, loaded);
    const handle = find(session, circumstances, label, pkcs11js.CKO_SECRET_KEY);
    requireAttributes(session, label, handle, WRAPPING_KEY_REQUIREMENTS);
    return remember(session, circumstances, label, pkcs11js.CKO_SECRET_KEY, handle, undefined).handle;
  }

  /** Modules differ in what they answer to a wrong tag, some as if the device were broken: a round trip tells. */
  async function roundTripWorks(session: Session, handle: Handle): Promise<boolean> {
    const iv = randomBytes(session, GCM_IV_LENGTH);
    const sealed = await gcmEncrypt(session, handle, iv, iv, iv);
    return Buffer.from(iv).equals(await gcmDecrypt(session, handle, iv, iv, sealed));
  }

  /** What the breaker asks while the HSM is away: as near to real work as can be. */
  async function probe(session: Session, circumstances: Circumstances): Promise<void> {
    requireLogin(session);
    session.api.C_GetTokenInfo(session.slot);
    for (const key of known.values()) {
      const handle = handleOf(session, circumstances, key);
      if (key.half !== undefined) await selfTest(session, key.label, handle, key.half, signing);
      return;
    }
  }

  /**
   * Generates under a label that must be free. The CKA_ID is made once, so that a repeated attempt recognises the key
   * of the first one, whose answer was lost.
   */
  async function generate<T>(
    label: string,
    generateKey: (session: Session, id: Buffer) => Promise<void>,
    load: (session: Session, circumstances: Circumstances) => T | Promise<T>,
  ): Promise<T> {
    requireLabel(label);
    const exists = (): CroupierError =>
      new CroupierError('hsm.key-exists', `HSM token ${token.label} has a key ${label} already`, {
        detail: { label, token: token.label },
      });
    if (generating.has(label)) throw exists();
    generating.add(label);
    let id: Buffer | undefined;
    try {
      return await connection.execute(async (session, circumstances) => {
        const present = findLabelled(session, label);
        if (present.length === 0) {
          believeAbsence(session, circumstances);
          id ??= freshKeyId(session);
          await generateKey(session, id);
        } else if (
          !present.every((object) =>
            id?.equals(readAttributes(session, object, [pkcs11js.CKA_ID])[0] ?? Buffer.alloc(0)),
          )
        ) {
          throw exists();
        }
        return load(session, circumstances);
      }, generationTimeoutMs);
    } finally {
      generating.delete(label);
    }
  }

  try {
    await connection.tryOnce((session) => requireLogin(session));
  } catch (error) {
    await connection.close();
    throw error;
  }

  return {
    generateSigningKey(label: string, algorithm: KeyAlgorithm): Promise<Signer> {
      const generateKey = async (session: Session, id: Buffer): Promise<void> => {
        const supported = requireHsmAlgorithm(algorithm);
        const { generation } = SIGNING_SCHEMES[supported];
        token.requireMechanism(generation.mechanism.mechanism, generation.name);
        await generatePair(
          session,
          generation.mechanism,
          publicKeyTemplate(label, id, supported),
          privateKeyTemplate(label, id),
        );
      };
      return generate(label, generateKey, (session, circumstances) => loadSigner(session, circumstances, label));
    },
    async signer(label: string): Promise<Signer> {
      requireLabel(label);
      const cached = connection.available ? signers.get(label) : undefined;
      return cached ?? connection.execute((session, circumstances) => loadSigner(session, circumstances, label));
    },
    async generateWrappingKey(label: string): Promise<void> {
      const generateKey = async (session: Session, id: Buffer): Promise<void> => {
        token.requireMechanism(AES_GENERATION.mechanism.mechanism, AES_GENERATION.name);
        await generateSecret(session, AES_GENERATION.mechanism, wrappingKeyTemplate(label, id));
      };
      await generate(label, generateKey, (session, circumstances) => wrappingKey(session, circumstances, label));
    },
    async wrap(label: string, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
      requireLabel(label);
      requireLength('key material to wrap', plaintext.length, 1, WRAP_LIMIT);
      requireLength('additional data of a wrapped key', aad.length, 0, WRAP_LIMIT);
      return connection.execute(async (session, circumstances) => {
        const handle = wrappingKey(session, circumstances, label);
        const iv = randomBytes(session, GCM_IV_LENGTH);
        return encodeBlob(iv, await gcmEncrypt(session, handle, iv, aad, plaintext));
      });
    },
    async unwrap(label: string, wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
      requireLabel(label);
      requireLength('additional data of a wrapped key', aad.length, 0, WRAP_LIMIT);
      return connection.execute(async (session, circumstances) => {
        const handle = wrappingKey(session, circumstances, label);
        const { iv, sealed } = decodeBlob(wrapped);
        try {
          return await gcmDecrypt(session, handle, iv, aad, sealed);
        } catch (error) {
          const verdict = decryptionVerdict(error);
          if (verdict === 'refused' || (verdict === 'unclear' && (await roundTripWorks(session, handle)))) {
            throw unwrapFailed(label, error);
          }
          throw error;
        }
      });
    },
    async random(length: number): Promise<Uint8Array> {
      requireLength('random data', length, 1, RANDOM_LIMIT);
      return connection.execute((session) => randomBytes(session, length));
    },
    labels(): Promise<readonly string[]> {
      return connection.execute((session, circumstances) => {
        const labels = keyLabels(session);
        if (labels.length === 0) believeAbsence(session, circumstances);
        return labels;
      });
    },
    async destroy(label: string): Promise<void> {
      requireLabel(label);
      let begun = false;
      await connection.execute((session, circumstances) => {
        const objects = findLabelled(session, label);
        if (objects.length === 0 && !begun) {
          believeAbsence(session, circumstances);
          throw notFound(label, 'key');
        }
        begun = true;
        for (const object of objects) session.api.C_DestroyObject(session.handle, object);
        const left = findLabelled(session, label).length;
        if (left > 0)
          throw new CroupierError(
            'hsm.unavailable',
            `${left} objects of HSM key ${label} could not be destroyed; repeat`,
            { detail: { label } },
          );
        // Signers that are held elsewhere must look, and not use a handle that may name another object by now.
        const key = known.get(label);
        if (key !== undefined) key.epoch = NO_EPOCH;
        known.delete(label);
        signers.delete(label);
      });
    },
    health: () => connection.health(),
    close: () => connection.close(),
  };
}
