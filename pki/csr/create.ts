/** Making PKCS#10 certification requests (RFC 2986), on the device. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import {
  bitString,
  contextConstructed,
  integer,
  oid,
  printableString,
  sequence,
  setOf,
  utf8String,
  type Der,
} from '#pki/der/writer.ts';
import { subjectAltNameExtension, type SubjectAltName } from '#pki/certificate/extensions.ts';
import { encodeName, type DistinguishedName } from '#pki/certificate/name.ts';
import { signatureAlgorithm } from '#pki/certificate/signature-algorithm.ts';
import type { Signer } from '#pki/keys/signer.ts';

export interface CsrRequest {
  readonly subject: DistinguishedName;
  /** The key to be certified. */
  readonly signer: Signer;
  /** Base64 of the channel binding (RFC 7030, 3.5), or what another protocol wants there. */
  readonly challengePassword?: string;
  readonly subjectAltNames?: readonly SubjectAltName[];
}

const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

function challengePassword(text: string): Der {
  if (text.length === 0 || text.length > 255) {
    throw new CroupierError('input.invalid', 'a challengePassword has 1 to 255 characters');
  }
  const value = PRINTABLE.test(text) ? printableString(text) : utf8String(text);
  return sequence(oid(OID.challengePassword), setOf(value));
}

function extensionRequest(names: readonly SubjectAltName[]): Der {
  return sequence(oid(OID.extensionRequest), setOf(sequence(subjectAltNameExtension(names))));
}

/** A signed request, DER. Errors: `input.invalid` for values that have no encoding; those of the signer. */
export async function createCsr(request: CsrRequest): Promise<Uint8Array> {
  const { subject, signer, subjectAltNames = [] } = request;
  const attributes: Der[] = [];
  if (request.challengePassword !== undefined) attributes.push(challengePassword(request.challengePassword));
  if (subjectAltNames.length > 0) attributes.push(extensionRequest(subjectAltNames));
  const info = sequence(
    integer(0),
    encodeName(subject),
    signer.spki,
    contextConstructed(0, ...attributes.toSorted((a, b) => Buffer.compare(a, b))),
  );
  return sequence(info, signatureAlgorithm(signer.algorithm), bitString(await signer.sign(info)));
}
