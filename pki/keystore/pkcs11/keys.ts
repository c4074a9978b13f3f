/** Key objects of a token: templates, search by label, and what must hold of a key before it is used. */
import { Buffer } from 'node:buffer';
import { createPublicKey } from 'node:crypto';
import pkcs11js, { type Handle, type Mechanism, type Template } from 'pkcs11js';
import { CroupierError } from '#schema/errors.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { keyAlgorithmOf } from '#pki/keys/software-key.ts';
import { OID } from '#pki/der/oid.ts';
import { oid } from '#pki/der/writer.ts';
import { requireHsmAlgorithm, type HsmKeyAlgorithm } from '../hsm-algorithms.ts';
import { returnValueOf } from './errors.ts';
import { ecSpki, rsaSpki } from './public-key.ts';
import type { Session } from './token.ts';

const FIND_BATCH = 64;
const ID_LENGTH = 20;

export interface NamedMechanism {
  readonly name: string;
  readonly mechanism: Mechanism;
}

const named = (name: string, mechanism: number): NamedMechanism => ({ name, mechanism: { mechanism } });
const EC_GENERATION = named('CKM_EC_KEY_PAIR_GEN', pkcs11js.CKM_EC_KEY_PAIR_GEN);
const RSA_GENERATION = named('CKM_RSA_PKCS_KEY_PAIR_GEN', pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN);
const ECDSA = named('CKM_ECDSA', pkcs11js.CKM_ECDSA);
const RSA_SHA256 = named('CKM_SHA256_RSA_PKCS', pkcs11js.CKM_SHA256_RSA_PKCS);
export const AES_GENERATION = named('CKM_AES_KEY_GEN', pkcs11js.CKM_AES_KEY_GEN);
export const AES_GCM = named('CKM_AES_GCM', pkcs11js.CKM_AES_GCM);

interface SigningScheme {
  readonly generation: NamedMechanism;
  readonly signing: NamedMechanism;
  /** Hash to compute before signing; absent where the mechanism hashes. */
  readonly prehash?: 'sha256' | 'sha384';
  readonly parameters: Template;
}

const curve = (dotted: string): Template => [{ type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from(oid(dotted)) }];
const modulus = (bits: number): Template => [
  { type: pkcs11js.CKA_MODULUS_BITS, value: bits },
  { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
];
const rsa = (bits: number): SigningScheme => ({
  generation: RSA_GENERATION,
  signing: RSA_SHA256,
  parameters: modulus(bits),
});

export const SIGNING_SCHEMES: Readonly<Record<HsmKeyAlgorithm, SigningScheme>> = {
  'EC-P256': { generation: EC_GENERATION, signing: ECDSA, prehash: 'sha256', parameters: curve(OID.p256) },
  'EC-P384': { generation: EC_GENERATION, signing: ECDSA, prehash: 'sha384', parameters: curve(OID.p384) },
  'RSA-2048': rsa(2048),
  'RSA-3072': rsa(3072),
  'RSA-4096': rsa(4096),
};

function identity(label: string, id: Buffer): Template {
  return [
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_LABEL, value: label },
    { type: pkcs11js.CKA_ID, value: id },
    { type: pkcs11js.CKA_MODIFIABLE, value: false },
  ];
}

const SECRET: Template = [
  { type: pkcs11js.CKA_PRIVATE, value: true },
  { type: pkcs11js.CKA_SENSITIVE, value: true },
  { type: pkcs11js.CKA_EXTRACTABLE, value: false },
];

export function publicKeyTemplate(label: string, id: Buffer, algorithm: HsmKeyAlgorithm): Template {
  return [
    ...identity(label, id),
    { type: pkcs11js.CKA_PRIVATE, value: false },
    { type: pkcs11js.CKA_VERIFY, value: true },
    { type: pkcs11js.CKA_ENCRYPT, value: false },
    { type: pkcs11js.CKA_WRAP, value: false },
    ...SIGNING_SCHEMES[algorithm].parameters,
  ];
}

export function privateKeyTemplate(label: string, id: Buffer): Template {
  return [
    ...identity(label, id),
    ...SECRET,
    { type: pkcs11js.CKA_SIGN, value: true },
    { type: pkcs11js.CKA_DECRYPT, value: false },
    { type: pkcs11js.CKA_UNWRAP, value: false },
    { type: pkcs11js.CKA_DERIVE, value: false },
  ];
}

export function wrappingKeyTemplate(label: string, id: Buffer): Template {
  return [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
    { type: pkcs11js.CKA_VALUE_LEN, value: 32 },
    ...identity(label, id),
    ...SECRET,
    { type: pkcs11js.CKA_ENCRYPT, value: true },
    { type: pkcs11js.CKA_DECRYPT, value: true },
    { type: pkcs11js.CKA_WRAP, value: false },
    { type: pkcs11js.CKA_UNWRAP, value: false },
    { type: pkcs11js.CKA_SIGN, value: false },
    { type: pkcs11js.CKA_VERIFY, value: false },
    { type: pkcs11js.CKA_DERIVE, value: false },
  ];
}

/** A fresh CKA_ID: it ties the two halves of a pair together and tells a key from a later one of the same label. */
export function freshKeyId(session: Session): Buffer {
  return session.api.C_GenerateRandom(session.handle, Buffer.alloc(ID_LENGTH));
}

/** Handles of all objects that match. */
export function findObjects(session: Session, template: Template): readonly Handle[] {
  const { api, handle } = session;
  const found: Handle[] = [];
  api.C_FindObjectsInit(handle, template);
  try {
    for (;;) {
      const batch = api.C_FindObjects(handle, FIND_BATCH);
      found.push(...batch);
      if (batch.length < FIND_BATCH) return found;
    }
  } finally {
    api.C_FindObjectsFinal(handle);
  }
}

export function findLabelled(session: Session, label: string, objectClass?: number): readonly Handle[] {
  const byLabel = { type: pkcs11js.CKA_LABEL, value: label };
  return findObjects(
    session,
    objectClass === undefined ? [byLabel] : [{ type: pkcs11js.CKA_CLASS, value: objectClass }, byLabel],
  );
}

/** The only object of a class and label, or undefined. Errors: `hsm.key-exists` if there are several. */
export function findOnly(session: Session, label: string, objectClass: number): Handle | undefined {
  const found = findLabelled(session, label, objectClass);
  if (found.length > 1) {
    throw new CroupierError(
      'hsm.key-exists',
      `the HSM has ${found.length} keys labelled ${label}: it is not clear which is meant; destroy those that should not be there`,
    );
  }
  return found[0];
}

export function readAttributes(session: Session, object: Handle, types: readonly number[]): readonly Buffer[] {
  return session.api
    .C_GetAttributeValue(
      session.handle,
      object,
      types.map((type) => ({ type })),
    )
    .map(({ value }) => value);
}

export function keyLabels(session: Session): readonly string[] {
  const labels = new Set<string>();
  for (const objectClass of [pkcs11js.CKO_PRIVATE_KEY, pkcs11js.CKO_SECRET_KEY]) {
    for (const object of findObjects(session, [{ type: pkcs11js.CKA_CLASS, value: objectClass }])) {
      const [label] = readAttributes(session, object, [pkcs11js.CKA_LABEL]);
      if (label !== undefined) labels.add(label.toString('utf8'));
    }
  }
  return [...labels].sort();
}

type Requirement = readonly [name: string, type: number, expected: boolean];

const UNEXTRACTABLE: readonly Requirement[] = [
  ['CKA_SENSITIVE', pkcs11js.CKA_SENSITIVE, true],
  ['CKA_EXTRACTABLE', pkcs11js.CKA_EXTRACTABLE, false],
  ['CKA_ALWAYS_SENSITIVE', pkcs11js.CKA_ALWAYS_SENSITIVE, true],
  ['CKA_NEVER_EXTRACTABLE', pkcs11js.CKA_NEVER_EXTRACTABLE, true],
];

export const SIGNING_KEY_REQUIREMENTS: readonly Requirement[] = [
  ...UNEXTRACTABLE,
  ['CKA_SIGN', pkcs11js.CKA_SIGN, true],
  ['CKA_DECRYPT', pkcs11js.CKA_DECRYPT, false],
  ['CKA_UNWRAP', pkcs11js.CKA_UNWRAP, false],
];

export const WRAPPING_KEY_REQUIREMENTS: readonly Requirement[] = [
  ...UNEXTRACTABLE,
  ['CKA_ENCRYPT', pkcs11js.CKA_ENCRYPT, true],
  ['CKA_DECRYPT', pkcs11js.CKA_DECRYPT, true],
  ['CKA_SIGN', pkcs11js.CKA_SIGN, false],
  ['CKA_UNWRAP', pkcs11js.CKA_UNWRAP, false],
];

/** Attributes that do not apply to a kind of key, such as CKA_DECRYPT to EC, are absent in some modules: that is false. */
function readFlag(session: Session, object: Handle, type: number): boolean {
  try {
    return readAttributes(session, object, [type])[0]?.[0] === 1;
  } catch (error) {
    if (returnValueOf(error) === 'CKR_ATTRIBUTE_TYPE_INVALID') return false;
    throw error;
  }
}

/** Errors: `hsm.key-unsafe`, naming what is wrong. */
export function requireAttributes(
  session: Session,
  label: string,
  object: Handle,
  requirements: readonly Requirement[],
): void {
  const broken = requirements.filter(([, type, expected]) => readFlag(session, object, type) !== expected);
  if (broken.length > 0) {
    const rules = broken.map(([name, , expected]) => `${name} must be ${String(expected)}`);
    throw new CroupierError('hsm.key-unsafe', `HSM key ${label} is refused: ${rules.join(', ')}`, {
      detail: { label, rules },
    });
  }
}

export interface PublicHalf {
  readonly algorithm: HsmKeyAlgorithm;
  readonly spki: Uint8Array;
}

/** Reads the public half of a pair. Errors: `hsm.key-not-found`, `hsm.mechanism-unsupported`. */
export function readPublicHalf(session: Session, label: string): PublicHalf {
  const object = findOnly(session, label, pkcs11js.CKO_PUBLIC_KEY);
  if (object === undefined)
    throw new CroupierError('hsm.key-not-found', `the HSM has no public half of signing key ${label}`);
  const spki = readSpki(session, object);
  const algorithm = algorithmOf(spki);
  if (algorithm === undefined) {
    throw new CroupierError(
      'hsm.mechanism-unsupported',
      `HSM key ${label} is neither P-256 nor P-384 nor RSA of 2048, 3072 or 4096 bits`,
    );
  }
  return { algorithm: requireHsmAlgorithm(algorithm), spki };
}

function readSpki(session: Session, object: Handle): Uint8Array {
  const [keyType] = readAttributes(session, object, [pkcs11js.CKA_KEY_TYPE]);
  if (keyType?.[0] === pkcs11js.CKK_RSA) {
    const [n, e] = readAttributes(session, object, [pkcs11js.CKA_MODULUS, pkcs11js.CKA_PUBLIC_EXPONENT]);
    if (n !== undefined && e !== undefined) return rsaSpki(n, e);
  }
  const [parameters, point] = readAttributes(session, object, [pkcs11js.CKA_EC_PARAMS, pkcs11js.CKA_EC_POINT]);
  if (parameters !== undefined && point !== undefined) return ecSpki(parameters, point);
  throw new CroupierError('hsm.mechanism-unsupported', 'the HSM does not give the public key out');
}

function algorithmOf(spki: Uint8Array): KeyAlgorithm | undefined {
  return keyAlgorithmOf(createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }));
}
