/**
 * CsrAttrs: what an EST server wants in a certificate signing request (RFC 7030, 4.5.2; RFC 8951; RFC 9908, 3).
 */
import { integer, oid, sequence, setOf } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import { CroupierError } from '#schema/errors.ts';

/** Key types that a CsrAttrs can ask for. */
export type RequestableKey = Exclude<KeyAlgorithm, 'Ed25519'>;

export interface WantedAttributes {
  /** Key types that the server accepts; the client takes the first that it can make. */
  readonly keys: readonly RequestableKey[];
  /** Extensions, each a SEQUENCE in DER, to be in the request as they are. */
  readonly extensions?: readonly Uint8Array[];
  /** Whether the request must carry challengePassword, for channel binding (RFC 7030, 3.5). */
  readonly challengePassword?: boolean;
}

export interface CsrAttributes {
  /** Key types asked for, in the order of the answer; sizes and curves that are not ours are left out. */
  readonly keys: readonly RequestableKey[];
  /** Extensions asked for, each a SEQUENCE in DER. */
  readonly extensions: readonly Uint8Array[];
  /** Object identifiers that stand alone: attributes to be included, algorithms to be used. */
  readonly oids: readonly string[];
}

/** Largest answer read, in bytes of DER, and the most elements in it. */
const MAXIMUM_BYTES = 16 * 1024;
const MAXIMUM_ELEMENTS = 64;

const attribute = (type: string, ...values: readonly Uint8Array[]): Uint8Array => sequence(oid(type), setOf(...values));

const KEY_HINTS: Readonly<Record<RequestableKey, Uint8Array>> = {
  'EC-P256': attribute(OID.ecPublicKey, oid(OID.p256)),
  'EC-P384': attribute(OID.ecPublicKey, oid(OID.p384)),
  'RSA-2048': attribute(OID.rsaEncryption, integer(2048)),
  'RSA-3072': attribute(OID.rsaEncryption, integer(3072)),
  'RSA-4096': attribute(OID.rsaEncryption, integer(4096)),
};

/**
 * CsrAttrs, DER. Key types become id-ecPublicKey with the curve or rsaEncryption with the size, one attribute for each
 * in the order given; all extensions go into one id-ExtensionReq that holds one Extensions (RFC 9908, 3.2).
 */
export function encodeCsrAttrs({ keys, extensions = [], challengePassword = false }: WantedAttributes): Uint8Array {
  return sequence(
    ...(challengePassword ? [oid(OID.challengePassword)] : []),
    ...keys.map((key) => KEY_HINTS[key]),
    ...(extensions.length === 0 ? [] : [attribute(OID.extensionRequest, sequence(...extensions))]),
  );
}

const CURVES: Readonly<Record<string, RequestableKey | undefined>> = { [OID.p256]: 'EC-P256', [OID.p384]: 'EC-P384' };
const SIZES: Readonly<Record<number, RequestableKey | undefined>> = {
  2048: 'RSA-2048',
  3072: 'RSA-3072',
  4096: 'RSA-4096',
};

function readKeyHints(type: string, values: DerReader): RequestableKey[] {
  const keys: RequestableKey[] = [];
  while (!values.done) {
    const key = type === OID.ecPublicKey ? CURVES[values.oid('curve')] : SIZES[values.integer('key size')];
    if (key !== undefined) keys.push(key);
  }
  return keys;
}

function readExtensionRequest(values: DerReader): Uint8Array[] {
  const extensions: Uint8Array[] = [];
  const list = values.sequence('extensions');
  values.end('extension request');
  while (!list.done) extensions.push(list.expect(0x30, 'extension').whole);
  return extensions;
}

function readCsrAttrs(der: Uint8Array): CsrAttributes {
  const keys: RequestableKey[] = [];
  const extensions: Uint8Array[] = [];
  const oids: string[] = [];
  const elements = readSequence(der, 'CsrAttrs');
  let extensionRequested = false;
  for (let count = 1; !elements.done; count += 1) {
    if (count > MAXIMUM_ELEMENTS) throw new CroupierError('der.malformed', 'CsrAttrs has too many elements');
    if (elements.peek() === 0x06) {
      oids.push(elements.oid('attribute'));
      continue;
    }
    const element = elements.sequence('attribute');
    const type = element.oid('attribute type');
    const values = new DerReader(element.expect(0x31, 'attribute values').content);
    element.end('attribute');
    if (type === OID.ecPublicKey || type === OID.rsaEncryption) keys.push(...readKeyHints(type, values));
    if (type !== OID.extensionRequest) continue;
    if (extensionRequested) throw new CroupierError('der.malformed', 'CsrAttrs has two extension requests');
    extensionRequested = true;
    extensions.push(...readExtensionRequest(values));
  }
  return { keys, extensions, oids };
}

/**
 * Reads CsrAttrs, DER. Attributes that are not known are passed over, as are id-ecPublicKey and rsaEncryption without
 * values. Errors: `input.too-large`, `der.malformed`.
 */
export function decodeCsrAttrs(der: Uint8Array): CsrAttributes {
  if (der.length > MAXIMUM_BYTES) {
    throw new CroupierError('input.too-large', `CsrAttrs has ${der.length} bytes; at most ${MAXIMUM_BYTES} are read`);
  }
  return readCsrAttrs(der);
}
