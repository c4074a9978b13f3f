/**
 * CMS SignedData (RFC 5652, 5) of one fixed shape: id-data attached, signed attributes always present, DER throughout.
 */
import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import {
  contextConstructed,
  contextPrimitive,
  implicitSetOf,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  tlv,
} from '#pki/der/writer.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { CroupierError } from '#schema/errors.ts';
import { signingSuite, type SigningSuite } from './algorithms.ts';
import { issuerAndSerialNumber } from './sid.ts';

export interface MessageSigner {
  readonly signer: Signer;
  /** The certificate of the signer's key, DER. */
  readonly certificate: Uint8Array;
  /** Intermediate certificates to embed, DER; the anchor itself is not needed. */
  readonly chain: readonly Uint8Array[];
}

export interface SignOptions {
  /** Adds the signingTime attribute. It is a claim of the signer, not a proof. */
  readonly signingTime?: Date;
  /**
   * `chain` (the default) embeds the signer's certificate and its chain; `none` embeds nothing, for a receiver that
   * already holds the certificate (about 900 bytes less).
   */
  readonly embed?: 'chain' | 'none';
}

interface PreparedSigner {
  readonly suite: SigningSuite;
  /** version and sid of the SignerInfo. */
  readonly version: 1 | 3;
  readonly identification: Uint8Array;
}

const prepared = new WeakMap<MessageSigner, PreparedSigner>();

function prepare(by: MessageSigner): PreparedSigner {
  const known = prepared.get(by);
  if (known !== undefined) return known;
  const suite = signingSuite(by.signer.algorithm);
  const fields = parseCertificate(by.certificate);
  if (Buffer.compare(fields.spki, by.signer.spki) !== 0) {
    throw new CroupierError('input.invalid', 'the certificate of the message signer belongs to another key');
  }
  const { subjectKeyIdentifier } = fields;
  const version = subjectKeyIdentifier === undefined ? 1 : 3;
  const sid =
    subjectKeyIdentifier === undefined ? issuerAndSerialNumber(fields) : contextPrimitive(0, subjectKeyIdentifier);
  const result: PreparedSigner = { suite, version, identification: Buffer.concat([integer(version), sid]) };
  prepared.set(by, result);
  return result;
}

const attribute = (type: string, value: Uint8Array): Uint8Array => sequence(oid(type), tlv(0x31, value));

const CONTENT_TYPE_IS_DATA = attribute(OID.contentType, oid(OID.data));

async function signerInfo(
  digest: Uint8Array,
  by: MessageSigner,
  { suite, identification }: PreparedSigner,
  signingTime: Uint8Array | undefined,
): Promise<Uint8Array> {
  const attributes = [CONTENT_TYPE_IS_DATA, attribute(OID.messageDigest, octetString(digest))];
  if (signingTime !== undefined) attributes.push(signingTime);
  // RFC 5652, 5.4: signed as SET OF, written as [0] IMPLICIT.
  const toBeSigned = setOf(...attributes);
  const written = Buffer.from(toBeSigned);
  written[0] = 0xa0;
  const signature = await by.signer.sign(toBeSigned);
  return sequence(identification, suite.digestAlgorithm, written, suite.signatureAlgorithm, octetString(signature));
}

function distinct(members: readonly Uint8Array[]): Uint8Array[] {
  return members.filter((member, index) => members.findIndex((other) => Buffer.compare(other, member) === 0) === index);
}

/**
 * Signs `content` into a ContentInfo with SignedData, DER (RFC 5652): eContentType id-data, content attached, one
 * SignerInfo identified by subjectKeyIdentifier (by issuer and serial number if the certificate has none), signed
 * attributes contentType and messageDigest, ECDSA or RSA PKCS#1 v1.5 with SHA-256 (SHA-384 for P-384).
 * Nothing about the certificate is verified but that it is for the signer's key.
 * Errors: `certificate.malformed`, `input.invalid`, and what the signer throws (`hsm.unavailable`).
 */
export function signMessage(content: Uint8Array, by: MessageSigner, options: SignOptions = {}): Promise<Uint8Array> {
  return cosignMessage(content, [by], options);
}

/**
 * As `signMessage`, with one SignerInfo for each of `by` over the same content. A trust bundle is signed so: by a signer
 * whom the version before trusts and by one whom the new version trusts.
 */
export async function cosignMessage(
  content: Uint8Array,
  by: readonly MessageSigner[],
  options: SignOptions = {},
): Promise<Uint8Array> {
  if (by.length === 0) throw new CroupierError('input.invalid', 'a message needs at least one signer');
  const { signingTime, embed = 'chain' } = options;
  const timeAttribute = signingTime === undefined ? undefined : attribute(OID.signingTime, time(signingTime));
  const signers = by.map((one) => ({ one, prepared: prepare(one) }));
  const infos = await Promise.all(
    signers.map(({ one, prepared }) =>
      signerInfo(hash(prepared.suite.hash, content, 'buffer'), one, prepared, timeAttribute),
    ),
  );
  const certificates = embed === 'none' ? [] : distinct(by.flatMap((one) => [one.certificate, ...one.chain]));
  const signedData = sequence(
    // RFC 5652, 5.1: 3 as soon as one SignerInfo is version 3, else 1.
    integer(Math.max(...signers.map(({ prepared }) => prepared.version))),
    setOf(...distinct(signers.map(({ prepared }) => prepared.suite.digestAlgorithm))),
    sequence(oid(OID.data), contextConstructed(0, octetString(content))),
    ...(certificates.length === 0 ? [] : [implicitSetOf(0, ...certificates)]),
    setOf(...infos),
  );
  return sequence(oid(OID.signedData), contextConstructed(0, signedData));
}
