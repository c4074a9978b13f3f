/** Making complete certificate revocation lists (RFC 5280, 5). */
import { Buffer } from 'node:buffer';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';
import { OID } from '#pki/der/oid.ts';
import {
  bitString,
  contextConstructed,
  generalizedTime,
  integer,
  octetString,
  oid,
  sequence,
  time,
  tlv,
  unsignedInteger,
  type Der,
} from '#pki/der/writer.ts';
import { authorityKeyIdentifierExtension } from '#pki/certificate/extensions.ts';
import type { Issuer } from '#pki/certificate/issuer.ts';
import { equalBytes } from '#pki/certificate/public-key.ts';
import { signatureAlgorithm, verifySignature } from '#pki/certificate/signature-algorithm.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { reasonCode, type RevocationReason } from './reason.ts';

export interface RevokedCertificate {
  /** Lower-case hex, as in `ParsedCertificate.serialNumber`. */
  readonly serialNumber: string;
  readonly revokedAt: Date;
  readonly reason: RevocationReason;
  /** When the key is thought to have been compromised, if earlier. */
  readonly invalidityDate?: Date;
}

export interface CrlRequest {
  /** Whose certificates are revoked; the list is complete for this issuer. */
  readonly issuer: Issuer;
  readonly signer: Signer;
  /** Greater than that of every list before. */
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: readonly RevokedCertificate[];
}

/** The DER writer's lengths end at 16 MiB; a list so long should have been partitioned before. */
const MAXIMUM_ENTRIES_SIZE = 15 * 1024 * 1024;
const ENTRIES_PER_TURN = 1000;
const VERSION_2 = integer(1);

function entryExtension(id: string, value: Der): Der {
  return sequence(oid(id), octetString(value));
}

function encodeEntry(entry: RevokedCertificate): Der {
  if (!/^(?:[0-9a-f]{2}){1,20}$/.test(entry.serialNumber)) {
    throw new CroupierError('input.invalid', 'a revoked serial number must be 1 to 20 octets in lower-case hex');
  }
  const extensions: Der[] = [];
  // RFC 5280, 5.3.1: instead of "unspecified" the extension is left out.
  if (entry.reason !== 'unspecified') {
    extensions.push(entryExtension(OID.crlReason, tlv(0x0a, Buffer.from([reasonCode(entry.reason)]))));
  }
  if (entry.invalidityDate !== undefined) {
    extensions.push(entryExtension(OID.invalidityDate, generalizedTime(entry.invalidityDate)));
  }
  const fields = [unsignedInteger(Buffer.from(entry.serialNumber, 'hex')), time(entry.revokedAt)];
  return extensions.length === 0 ? sequence(...fields) : sequence(...fields, sequence(...extensions));
}

/** Encodes in portions, so that a long list does not hold up the event loop. */
async function encodeEntries(revoked: readonly RevokedCertificate[]): Promise<Buffer> {
  const encoded: Der[] = [];
  for (const [index, entry] of revoked.entries()) {
    if (index > 0 && index % ENTRIES_PER_TURN === 0) await nextTurn();
    encoded.push(encodeEntry(entry));
  }
  const all = Buffer.concat(encoded);
  if (all.length > MAXIMUM_ENTRIES_SIZE) {
    throw new CroupierError('input.too-large', `a revocation list of ${revoked.length} entries is too long`);
  }
  return all;
}

/**
 * A signed, complete, version 2 CRL, DER, with authority key identifier and CRL number. On return its signature is
 * verified under the issuer's key. Errors: `input.invalid` (serial numbers, dates, the signer of another issuer),
 * `input.too-large`, `certificate.invariant-broken` if the signer signed wrongly; those of the signer.
 */
export async function buildCrl(request: CrlRequest): Promise<Uint8Array> {
  const { issuer, signer, thisUpdate, nextUpdate } = request;
  if (!equalBytes(issuer.spki, signer.spki)) {
    throw new CroupierError('input.invalid', 'the signing key is not that of the issuer of the revocation list');
  }
  if (nextUpdate <= thisUpdate) throw new CroupierError('input.invalid', 'nextUpdate must be after thisUpdate');
  const entries = await encodeEntries(request.revoked);
  const algorithm = signatureAlgorithm(issuer.algorithm);
  const number = sequence(oid(OID.crlNumber), octetString(integer(request.number)));
  const tbs = sequence(
    VERSION_2,
    algorithm,
    issuer.name,
    time(thisUpdate),
    time(nextUpdate),
    // An empty list must be absent (RFC 5280, 5.1.2.6).
    entries.length === 0 ? entries : sequence(entries),
    contextConstructed(0, sequence(authorityKeyIdentifierExtension(issuer.keyIdentifier), number)),
  );
  const signature = await signer.sign(tbs);
  if (!verifySignature(issuer.spki, algorithm, tbs, signature)) {
    throw new CroupierError(
      'certificate.invariant-broken',
      'the signature of the revocation list does not verify; it was not released',
    );
  }
  return sequence(tbs, algorithm, bitString(signature));
}
