/** What must hold of a signed certificate before anybody gets to see it. */
import type { KeyObject } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import { readSequence } from '#pki/der/reader.ts';
import type { Issuer } from './issuer.ts';
import { readTbsKeyAndAlgorithm } from './parse.ts';
import { equalBytes } from './public-key.ts';
import { loadPublicKey, verifySignature } from './signature-algorithm.ts';

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
  const certificate = readSequence(der, 'certificate');
  const tbs = certificate.expect(0x30, 'TBSCertificate').whole;
  const algorithm = certificate.expect(0x30, 'signature algorithm').whole;
  const signature = certificate.bitString('signature');
  certificate.end('certificate');
  if (!equalBytes(tbs, expected.tbs)) return 'the signed bytes are not the recorded intent';
  const fields = readTbsKeyAndAlgorithm(tbs);
  if (!equalBytes(fields.spki, expected.spki)) return 'the public key is not the one asked for';
  if (!equalBytes(fields.signatureAlgorithm, algorithm)) return 'the two signature algorithms differ';
  const key = expected.issuer === 'self' ? expected.spki : keyOf(expected.issuer);
  return verifySignature(key, algorithm, tbs, signature)
    ? undefined
    : 'the signature does not verify under the key of the issuer';
}

/**
 * Checks a certificate (DER) that has just been signed. On return: its TBSCertificate is byte for byte the recorded
 * intent, it holds the key asked for, and its signature verifies under the issuer's key.
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
