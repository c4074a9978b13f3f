/**
 * Reads CMS SignedData (RFC 5652, 5) into parts; verifies nothing.
 *
 * Accepted: DER as `signMessage` writes it and as `openssl cms -sign -nodetach -outform DER` does (either signer
 * identifier, further signed attributes). Refused: BER with indefinite lengths (`openssl cms -stream`), detached content,
 * SignerInfos without signed attributes (`-noattr`: the signature would then cover content alone, and content could pass
 * for attributes), unsigned attributes, CRLs, attribute certificates.
 */
import { Buffer } from 'node:buffer';
import { readCertificateNames } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';
import { readDigestAlgorithm, readSignatureAlgorithm, type Hash, type SignatureFamily } from './algorithms.ts';
import { identifies, readIdentifier, type CertificateIdentifier } from './sid.ts';

export interface MessageLimits {
  /** Largest message, in bytes of DER. */
  readonly maxBytes: number;
}

export interface ParsedSigner {
  readonly sid: CertificateIdentifier;
  /** The embedded certificate that `sid` names, DER. */
  readonly certificate: Uint8Array | undefined;
  /** What the signature covers: the attributes as SET OF, DER (RFC 5652, 5.4). */
  readonly signedAttributes: Uint8Array;
  /** Of the attributes: */
  readonly contentType: string;
  readonly messageDigest: Uint8Array;
  readonly signingTime: Date | undefined;
  readonly digestAlgorithm: Hash;
  readonly signatureAlgorithm: SignatureFamily;
  readonly signature: Uint8Array;
}

export interface ParsedSignedData {
  /** Object identifier of eContentType. */
  readonly contentType: string;
  readonly content: Uint8Array;
  /** Embedded certificates, DER, in the order of the message. */
  readonly certificates: readonly Uint8Array[];
  readonly signers: readonly ParsedSigner[];
}

const MAXIMUM_CERTIFICATES = 16;
const MAXIMUM_SIGNERS = 8;
const MAXIMUM_ATTRIBUTES = 16;

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', what);

/** Members of a SET OF must stand in the order of their encodings (X.690, 11.6); this one follows `previous`. */
function checkOrder(previous: Uint8Array | undefined, member: Uint8Array, what: string): void {
  if (previous !== undefined && Buffer.compare(previous, member) > 0) throw malformed(`${what} are not in DER order`);
}

/** Attributes with one value each, by type; the values are TLVs. */
function readAttributes(content: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const attributes = new Map<string, Uint8Array>();
  const reader = new DerReader(content);
  let previous: Uint8Array | undefined;
  while (!reader.done) {
    const { content: body, whole } = reader.expect(0x30, 'attribute');
    checkOrder(previous, whole, 'signed attributes');
    previous = whole;
    const attribute = new DerReader(body);
    const type = attribute.oid('attribute type');
    const values = attribute.set('attribute values');
    attribute.end('attribute');
    const value = values.next().whole;
    values.end(`values of attribute ${type}`);
    if (attributes.has(type)) throw malformed(`signed attribute ${type} occurs twice`);
    attributes.set(type, value);
    if (attributes.size > MAXIMUM_ATTRIBUTES) throw malformed('too many signed attributes');
  }
  return attributes;
}

function required(attributes: ReadonlyMap<string, Uint8Array>, type: string, what: string): DerReader {
  const value = attributes.get(type);
  if (value === undefined) throw malformed(`signed attribute ${what} is missing`);
  return new DerReader(value);
}

/** `version` belongs to the form of the signer identifier (RFC 5652, 5.3). */
function readSigner(reader: DerReader, certificates: readonly Uint8Array[]): ParsedSigner {
  const version = reader.integer('version');
  const sid = readIdentifier(reader);
  if (version !== (sid.kind === 'subjectKeyIdentifier' ? 3 : 1)) throw malformed(`SignerInfo has version ${version}`);
  const digestAlgorithm = readDigestAlgorithm(reader);
  if (reader.peek() !== 0xa0) throw malformed('the signer has no signed attributes');
  const { content, whole } = reader.next();
  const signatureAlgorithm = readSignatureAlgorithm(reader, digestAlgorithm);
  const signature = reader.octetString('signature');
  reader.end('SignerInfo');

  const attributes = readAttributes(content);
  const signingTime = attributes.get(OID.signingTime);
  const signedAttributes = Buffer.from(whole);
  signedAttributes[0] = 0x31;
  return {
    sid,
    certificate: certificates.find((der) => identifies(sid, readCertificateNames(der))),
    signedAttributes,
    contentType: required(attributes, OID.contentType, 'contentType').oid('contentType'),
    messageDigest: required(attributes, OID.messageDigest, 'messageDigest').octetString('messageDigest'),
    signingTime: signingTime === undefined ? undefined : new DerReader(signingTime).time('signingTime'),
    digestAlgorithm,
    signatureAlgorithm,
    signature,
  };
}

function readMembers(content: Uint8Array, limit: number, what: string): Uint8Array[] {
  const members: Uint8Array[] = [];
  const reader = new DerReader(content);
  while (!reader.done) {
    const { whole } = reader.expect(0x30, what);
    checkOrder(members.at(-1), whole, what);
    members.push(whole);
    if (members.length > limit) throw malformed(`more than ${limit} of ${what}`);
  }
  return members;
}

function checkDigestAlgorithms(identifiers: readonly Uint8Array[], signers: readonly ParsedSigner[]): void {
  const announced = new Set(identifiers.map((whole) => readDigestAlgorithm(new DerReader(whole))));
  const used = new Set(signers.map(({ digestAlgorithm }) => digestAlgorithm));
  if (announced.size !== identifiers.length || announced.symmetricDifference(used).size > 0) {
    throw malformed('digestAlgorithms are not those of the signers');
  }
}

function readSignedData(der: Uint8Array): ParsedSignedData {
  const contentInfo = readSequence(der, 'ContentInfo');
  if (contentInfo.oid('content type') !== OID.signedData) throw malformed('the content is not SignedData');
  const explicit = new DerReader(contentInfo.expect(0xa0, 'content').content);
  contentInfo.end('ContentInfo');
  const signedData = explicit.sequence('SignedData');
  explicit.end('content');

  const version = signedData.integer('version');
  const digestAlgorithms = readMembers(
    signedData.expect(0x31, 'digestAlgorithms').content,
    MAXIMUM_SIGNERS,
    'digestAlgorithms',
  );
  const encapsulated = signedData.sequence('encapContentInfo');
  const contentType = encapsulated.oid('eContentType');
  if (encapsulated.done) throw malformed('the content is detached');
  const octets = new DerReader(encapsulated.expect(0xa0, 'eContent').content);
  encapsulated.end('encapContentInfo');
  const content = octets.octetString('eContent');
  octets.end('eContent');
  const embedded = signedData.optional(0xa0);
  const certificates =
    embedded === undefined ? [] : readMembers(embedded.content, MAXIMUM_CERTIFICATES, 'certificates');
  const infos = readMembers(signedData.expect(0x31, 'signerInfos').content, MAXIMUM_SIGNERS, 'signerInfos');
  signedData.end('SignedData');

  const signers = infos.map((whole) => readSigner(readSequence(whole, 'SignerInfo'), certificates));
  if (signers.length === 0) throw malformed('the message has no signer');
  checkDigestAlgorithms(digestAlgorithms, signers);
  const anyByKeyIdentifier = signers.some(({ sid }) => sid.kind === 'subjectKeyIdentifier');
  if (version !== (anyByKeyIdentifier || contentType !== OID.data ? 3 : 1)) {
    throw malformed(`SignedData has version ${version}`);
  }
  return { contentType, content, certificates, signers };
}

/**
 * Parses a ContentInfo with SignedData, DER. Nothing is verified on return: neither signatures, nor digests, nor
 * certificates. All byte fields but `signedAttributes` are views into `der`.
 * Errors: `input.too-large`, `message.malformed` (also for algorithms that are not allowed).
 */
export function parseSignedData(der: Uint8Array, { maxBytes }: MessageLimits): ParsedSignedData {
  if (der.length > maxBytes) {
    throw new CroupierError('input.too-large', `the message has ${der.length} bytes; at most ${maxBytes} are allowed`);
  }
  try {
    return readSignedData(der);
  } catch (error) {
    if (!(error instanceof CroupierError)) throw error;
    throw new CroupierError('message.malformed', `malformed message: ${error.message}`, { cause: error });
  }
}
