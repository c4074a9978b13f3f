/** The degenerate SignedData that carries certificates and nothing else (RFC 5652, 5; RFC 8551, 3.8), as EST answers. */
import { contextConstructed, implicitSetOf, integer, oid, sequence, setOf } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { CroupierError } from '#schema/errors.ts';
import type { MessageLimits } from './signed-data.ts';

const MAXIMUM_CERTIFICATES = 32;
const malformed = (what: string): CroupierError => new CroupierError('der.malformed', what);

/**
 * A ContentInfo with degenerate SignedData, DER, around certificates, DER. As a SET OF they stand in the order of their
 * encodings, not in the order given.
 */
export function encodeCertsOnly(certificates: readonly Uint8Array[]): Uint8Array {
  const signedData = sequence(
    integer(1),
    setOf(),
    sequence(oid(OID.data)),
    ...(certificates.length === 0 ? [] : [implicitSetOf(0, ...certificates)]),
    setOf(),
  );
  return sequence(oid(OID.signedData), contextConstructed(0, signedData));
}

function readCertsOnly(der: Uint8Array): Uint8Array[] {
  const contentInfo = readSequence(der, 'ContentInfo');
  if (contentInfo.oid('content type') !== OID.signedData) throw malformed('the content is not SignedData');
  const signedData = readSequence(contentInfo.expect(0xa0, 'content').content, 'SignedData');
  contentInfo.end('ContentInfo');
  const version = signedData.integer('version');
  if (version !== 1 && version !== 3) throw malformed(`SignedData has version ${version}`);
  signedData.set('digestAlgorithms').end('digestAlgorithms');
  const encapsulated = signedData.sequence('encapContentInfo');
  encapsulated.oid('eContentType');
  encapsulated.end('encapContentInfo');
  const embedded = signedData.optional(0xa0);
  signedData.optional(0xa1);
  signedData.set('signerInfos').end('signerInfos');
  signedData.end('SignedData');
  const certificates: Uint8Array[] = [];
  const members = new DerReader(embedded?.content ?? new Uint8Array());
  while (!members.done) {
    certificates.push(members.expect(0x30, 'certificate').whole);
    if (certificates.length > MAXIMUM_CERTIFICATES) throw malformed(`more than ${MAXIMUM_CERTIFICATES} certificates`);
  }
  return certificates;
}

/**
 * The certificates, DER, of a degenerate SignedData, DER, in the order of the message; CRLs are passed over. Nothing is
 * verified, and the certificates are not parsed. Errors: `input.too-large`, `message.malformed`.
 */
export function decodeCertsOnly(der: Uint8Array, { maxBytes }: MessageLimits = { maxBytes: 256 * 1024 }): Uint8Array[] {
  if (der.length > maxBytes) {
    throw new CroupierError('input.too-large', `the message has ${der.length} bytes; at most ${maxBytes} are allowed`);
  }
  try {
    return readCertsOnly(der);
  } catch (error) {
    if (!(error instanceof CroupierError) || error.code !== 'der.malformed') throw error;
    throw new CroupierError('message.malformed', `not a certs-only message: ${error.message}`, { cause: error });
  }
}
