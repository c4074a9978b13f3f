/** Reading and verifying certificate revocation lists (RFC 5280, 5). */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import { DerReader, readSequence } from '#pki/der/reader.ts';
import { readAuthorityKeyIdentifier } from '#pki/certificate/extensions.ts';
import type { Issuer } from '#pki/certificate/issuer.ts';
import { equalBytes } from '#pki/certificate/public-key.ts';
import { verifySignature } from '#pki/certificate/signature-algorithm.ts';
import type { RevokedCertificate } from './build.ts';
import { reasonOfCode, type RevocationReason } from './reason.ts';

export interface ParsedCrl {
  /** TBSCertList, DER. */
  readonly tbs: Uint8Array;
  /** Name, DER. */
  readonly issuer: Uint8Array;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly number: number;
  readonly authorityKeyIdentifier: Uint8Array | undefined;
  /** By serial number, lower-case hex. */
  readonly revoked: ReadonlyMap<string, RevokedCertificate>;
  /** AlgorithmIdentifier, DER. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

const malformed = (what: string): CroupierError => new CroupierError('der.malformed', `malformed DER: ${what}`);

function* readExtensions(list: DerReader): Generator<{ id: string; critical: boolean; value: Uint8Array }> {
  while (!list.done) {
    const fields = list.sequence('extension');
    const id = fields.oid('extension');
    const critical = fields.peek() === 0x01 && fields.boolean('critical');
    yield { id, critical, value: fields.octetString('extension value') };
    fields.end('extension');
  }
}

/** RFC 5280, 5.2.3 allows 20 octets; what does not fit a safe integer is not ours. */
function readNumber(value: Uint8Array): number {
  const content = new DerReader(value).integerBytes('CRL number');
  const number = Number.parseInt(Buffer.from(content).toString('hex'), 16);
  if ((content[0] ?? 0) >= 0x80 || !Number.isSafeInteger(number)) throw malformed('CRL number out of range');
  return number;
}

function readReason(value: Uint8Array): RevocationReason {
  const reason = reasonOfCode(new DerReader(value).expect(0x0a, 'CRL reason').content[0] ?? 0xff);
  if (reason === undefined) throw malformed('unknown CRL reason');
  return reason;
}

function serialHex(content: Uint8Array): string {
  return Buffer.from(content.length > 1 && content[0] === 0 ? content.subarray(1) : content).toString('hex');
}

function readEntry(fields: DerReader): RevokedCertificate {
  const serialNumber = serialHex(fields.integerBytes('revoked serial number'));
  const revokedAt = fields.time('revocation date');
  let reason: RevocationReason = 'unspecified';
  let invalidityDate: Date | undefined;
  for (const { id, critical, value } of fields.done ? [] : readExtensions(fields.sequence('entry extensions'))) {
    if (id === OID.crlReason) reason = readReason(value);
    else if (id === OID.invalidityDate) invalidityDate = new DerReader(value).time('invalidity date');
    else if (critical) throw malformed(`unknown critical entry extension ${id}`);
  }
  fields.end('revoked certificate');
  return { serialNumber, revokedAt, reason, ...(invalidityDate === undefined ? {} : { invalidityDate }) };
}

function readRevoked(list: DerReader): ReadonlyMap<string, RevokedCertificate> {
  const revoked = new Map<string, RevokedCertificate>();
  while (!list.done) {
    const entry = readEntry(list.sequence('revoked certificate'));
    revoked.set(entry.serialNumber, entry);
  }
  return revoked;
}

/**
 * Reads a complete CRL of version 2, DER. Nothing is verified. An unknown critical extension, hence every delta or
 * partitioned CRL, is refused. Errors: `der.malformed`.
 */
export function parseCrl(der: Uint8Array): ParsedCrl {
  const outer = readSequence(der, 'CRL');
  const tbs = outer.expect(0x30, 'TBSCertList');
  const signatureAlgorithm = outer.expect(0x30, 'signature algorithm').whole;
  const signature = outer.bitString('signature');
  outer.end('CRL');
  const fields = new DerReader(tbs.content);
  if (fields.integer('version') !== 1) throw malformed('the CRL is not of version 2');
  if (!equalBytes(fields.expect(0x30, 'signature algorithm').whole, signatureAlgorithm)) {
    throw malformed('the two signature algorithms of the CRL differ');
  }
  const issuer = fields.expect(0x30, 'issuer').whole;
  const thisUpdate = fields.time('thisUpdate');
  const nextUpdate = fields.time('nextUpdate');
  const revoked =
    fields.peek() === 0x30
      ? readRevoked(fields.sequence('revoked certificates'))
      : new Map<string, RevokedCertificate>();
  const explicit = readSequence(fields.expect(0xa0, 'CRL extensions').content, 'CRL extensions');
  fields.end('TBSCertList');
  let number: number | undefined;
  let authorityKeyIdentifier: Uint8Array | undefined;
  for (const { id, critical, value } of readExtensions(explicit)) {
    if (id === OID.crlNumber) number = readNumber(value);
    else if (id === OID.authorityKeyIdentifier) authorityKeyIdentifier = readAuthorityKeyIdentifier(value);
    else if (critical) throw malformed(`unknown critical CRL extension ${id}`);
  }
  if (number === undefined) throw malformed('the CRL has no number');
  return {
    tbs: tbs.whole,
    issuer,
    thisUpdate,
    nextUpdate,
    number,
    authorityKeyIdentifier,
    revoked,
    signatureAlgorithm,
    signature,
  };
}

/**
 * Whether the CRL is that of this issuer, signed by it. Its freshness is the caller's to judge: compare `nextUpdate`.
 */
export function isCrlOf(crl: ParsedCrl, issuer: Issuer): boolean {
  return (
    equalBytes(crl.issuer, issuer.name) && verifySignature(issuer.spki, crl.signatureAlgorithm, crl.tbs, crl.signature)
  );
}
