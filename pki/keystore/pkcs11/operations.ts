/** The cryptographic operations on one session: what is called, on which thread, and in which encoding. */
import { Buffer } from 'node:buffer';
import { createPublicKey, hash, verify } from 'node:crypto';
import pkcs11js, { type AesGCM, type Handle, type Mechanism, type Template } from 'pkcs11js';
import { CroupierError } from '#schema/errors.ts';
import type { HsmKeyAlgorithm } from '../hsm-algorithms.ts';
import { GCM_IV_LENGTH, GCM_TAG_LENGTH } from '../wrapped-blob.ts';
import { ecdsaSignatureToDer } from './ecdsa-signature.ts';
import { SIGNING_SCHEMES, type PublicHalf } from './keys.ts';
import type { Session } from './token.ts';

/** `async` runs the signature on libuv's threads; `sync` blocks the event loop and suits only an HSM in software. */
export type SigningMode = 'async' | 'sync';

type NodeCallback<T> = (error: Error | null, result: T) => void;

/** Runs a call on libuv's threads; `inUse` is what it reads, kept alive until it returns. */
function onThread<T>(session: Session, inUse: unknown, start: (callback: NodeCallback<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    session.inUse = inUse;
    start((error, result) => {
      session.inUse = undefined;
      if (error) reject(error);
      else resolve(result);
    });
  });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Signature over `data`, in the encoding of `Signer.sign`. */
export function sign(
  session: Session,
  key: Handle,
  algorithm: HsmKeyAlgorithm,
  data: Uint8Array,
  mode: SigningMode,
): Uint8Array | Promise<Uint8Array> {
  const { api, handle, output } = session;
  const { signing, prehash } = SIGNING_SCHEMES[algorithm];
  const input = prehash === undefined ? asBuffer(data) : hash(prehash, data, 'buffer');
  // The output belongs to the session and is overwritten by its next signature, so the result is always a copy.
  const encode = prehash === undefined ? (raw: Buffer): Uint8Array => Buffer.from(raw) : ecdsaSignatureToDer;
  api.C_SignInit(handle, signing.mechanism, key);
  if (mode === 'sync') return encode(api.C_Sign(handle, input, output));
  return new Promise((resolve, reject) => {
    session.inUse = input;
    api.C_Sign(handle, input, output, (error: Error | null, raw) => {
      session.inUse = undefined;
      if (error) reject(error);
      else resolve(encode(raw));
    });
  });
}

const PROBE = Buffer.from('Croupier signs this to see that the two halves of a key belong together');

/** Signs a probe and verifies it with the public half. Errors: `hsm.key-unsafe` if it does not verify. */
export async function selfTest(
  session: Session,
  label: string,
  key: Handle,
  half: PublicHalf,
  mode: SigningMode,
): Promise<void> {
  const signature = await sign(session, key, half.algorithm, PROBE, mode);
  const publicKey = createPublicKey({ key: Buffer.from(half.spki), format: 'der', type: 'spki' });
  if (!verify(half.algorithm === 'EC-P384' ? 'sha384' : 'sha256', PROBE, publicKey, signature)) {
    throw new CroupierError(
      'hsm.key-unsafe',
      `HSM key ${label} is refused: what it signs does not verify with its public half`,
      { detail: { label } },
    );
  }
}

export async function generatePair(
  session: Session,
  mechanism: Mechanism,
  publicKey: Template,
  privateKey: Template,
): Promise<void> {
  await onThread(session, [publicKey, privateKey], (callback) =>
    session.api.C_GenerateKeyPair(session.handle, mechanism, publicKey, privateKey, callback),
  );
}

export async function generateSecret(session: Session, mechanism: Mechanism, template: Template): Promise<void> {
  await onThread(session, template, (callback) =>
    session.api.C_GenerateKey(session.handle, mechanism, template, callback),
  );
}

export function randomBytes(session: Session, length: number): Uint8Array {
  return session.api.C_GenerateRandom(session.handle, Buffer.alloc(length));
}

function gcm(iv: Uint8Array, aad: Uint8Array): Mechanism {
  const parameter: AesGCM = {
    type: pkcs11js.CK_PARAMS_AES_GCM_v240,
    iv: asBuffer(iv),
    ivBits: GCM_IV_LENGTH * 8,
    ...(aad.length > 0 ? { aad: asBuffer(aad) } : {}),
    tagBits: GCM_TAG_LENGTH * 8,
  };
  return { mechanism: pkcs11js.CKM_AES_GCM, parameter };
}

/** Ciphertext and tag of `plaintext`. */
export async function gcmEncrypt(
  session: Session,
  key: Handle,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Promise<Uint8Array> {
  const { api, handle } = session;
  const mechanism = gcm(iv, aad);
  const input = asBuffer(plaintext);
  const output = Buffer.alloc(plaintext.length + GCM_TAG_LENGTH);
  api.C_EncryptInit(handle, mechanism, key);
  return onThread<Buffer>(session, [mechanism, input], (callback) => api.C_Encrypt(handle, input, output, callback));
}

/** Plaintext of ciphertext and tag; throws what the module throws, which differs between modules when the tag is wrong. */
export async function gcmDecrypt(
  session: Session,
  key: Handle,
  iv: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Promise<Uint8Array> {
  const { api, handle } = session;
  const mechanism = gcm(iv, aad);
  const input = asBuffer(sealed);
  // Some modules ask for room for the tag, too.
  const output = Buffer.alloc(sealed.length);
  api.C_DecryptInit(handle, mechanism, key);
  return onThread<Buffer>(session, [mechanism, input], (callback) => api.C_Decrypt(handle, input, output, callback));
}
