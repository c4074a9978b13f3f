/** What must hold of a signed certificate before anybody gets to see it. */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import { readSequence } from '#pki/der/reader.ts';
import type { Issuer } from './issuer.ts';
import { parseTbs } from './parse.ts';
import { equalBytes } from './public-key.ts';
import { loadPublicKey } from './signature-algorithm.ts';

export interface IssuedExpectation {
  /** TBSCertificate, DER, as it was recorded before the signature. */
  readonly tbs: Uint8Array;
  readonly issuer: Issuer | 'self';
  /** SubjectPublicKeyInfo that was asked for, DER. */
  readonly spki: Uint8Array;
}

const issuerKeys = new WeakMap<Issuer, KeyObject>();

function keyOf(issuer: Issuer): KeyObject {
  const known = issuerKeys.get(issuer);
  if (known !== undefined) return known;
  const key = loadPublicKey(issuer.spki);
  issuerKeys.set(issuer, key);
  return key;
}

function brokenInvariant(der: Uint8Array, expected: IssuedExpectation): string | undefined {
  const signed = readSequence(der, 'certificate').expect(0x30, 'TBSCertificate').whole;
  if (!equalBytes(signed, expected.tbs)) return 'the signed bytes are not the recorded intent';
  if (!equalBytes(parseTbs(signed).spki, expected.spki)) return 'the public key is not the one asked for';
  const key = expected.issuer === 'self' ? loadPublicKey(expected.spki) : keyOf(expected.issuer);
  return new X509Certificate(der).verify(key) ? undefined : 'the signature does not verify under the key of the issuer';
}

/**
 * Checks a certificate (DER) that has just been signed. On return: its TBSCertificate is byte for byte the recorded
 * intent, it holds the key asked for, and OpenSSL verifies its signature under the issuer's key.
 * Errors: `certificate.invariant-broken`.
 */
export function checkIssued(der: Uint8Array, expected: IssuedExpectation): void {
  let broken: string | undefined;
  try {
    broken = brokenInvariant(der, expected);
  } catch (error) {
    throw new CroupierError(
      'certificate.invariant-broken',
      'the signed certificate was not released: it cannot be parsed',
      { cause: error },
    );
  }
  if (broken !== undefined) {
    throw new CroupierError('certificate.invariant-broken', `the signed certificate was not released: ${broken}`);
  }
}
