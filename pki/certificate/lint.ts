/**
 * Lint before signing: a certificate is assembled with a throwaway key and read by two parsers before the HSM sees it.
 * What passes is a token, good for one signature; nothing else can be signed.
 */
import { Buffer } from 'node:buffer';
import { generateKeyPairSync, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import { bitString, sequence } from '#pki/der/writer.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import { lintProblems } from './lint-rules.ts';
import { parseTbs } from './parse.ts';
import { equalBytes } from './public-key.ts';
import { signatureAlgorithm } from './signature-algorithm.ts';
import { subjectKeyAlgorithm, type TbsRequest } from './tbs.ts';

declare const linted: unique symbol;

/** Proof that these bytes passed the lint. `signTbs` takes it once. */
export interface LintedTbs {
  readonly [linted]: true;
}

interface Clearance {
  readonly tbs: Uint8Array;
  readonly algorithm: KeyAlgorithm;
  readonly issuerSpki: Uint8Array;
}

const clearances = new WeakMap<LintedTbs, Clearance>();
const throwawayKeys = new Map<string, KeyObject>();

function generateThrowawayKey(algorithm: KeyAlgorithm): KeyObject {
  switch (algorithm) {
    case 'EC-P256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    case 'EC-P384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    case 'Ed25519':
      return generateKeyPairSync('ed25519').privateKey;
    case 'RSA-2048':
    case 'RSA-3072':
    case 'RSA-4096':
      // The signature algorithm does not tell the size, and a small key signs faster.
      return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    default:
      return algorithm satisfies never;
  }
}

function throwawayKey(algorithm: KeyAlgorithm): KeyObject {
  const type = algorithm.startsWith('RSA') ? 'RSA' : algorithm;
  const known = throwawayKeys.get(type);
  if (known !== undefined) return known;
  const key = generateThrowawayKey(algorithm);
  throwawayKeys.set(type, key);
  return key;
}

function assemble(tbs: Uint8Array, algorithm: KeyAlgorithm, signature: Uint8Array): Uint8Array {
  return sequence(tbs, signatureAlgorithm(algorithm), bitString(signature));
}

function failed(problems: readonly string[], request: TbsRequest): CroupierError {
  return new CroupierError(
    'certificate.lint-failed',
    `the ${request.profile.kind} certificate for ${JSON.stringify(request.subject.commonName)} was not signed: ${problems.join('; ')}`,
    { detail: { problems } },
  );
}

/**
 * Checks the TBSCertificate (DER) against the request that it was built from, and that request against its profile.
 * The bytes are copied: what is signed later is what was checked now. The first call per issuer key type generates a
 * throwaway key. Errors: `certificate.lint-failed` with every broken rule in `detail.problems`.
 */
export function lintTbs(tbs: Uint8Array, request: TbsRequest): LintedTbs {
  const bytes = Buffer.from(tbs);
  const algorithm = request.issuer === 'self' ? subjectKeyAlgorithm(request) : request.issuer.algorithm;
  const hash = algorithm === 'Ed25519' ? null : algorithm === 'EC-P384' ? 'sha384' : 'sha256';
  let problems: readonly string[];
  try {
    const view = new X509Certificate(assemble(bytes, algorithm, sign(hash, bytes, throwawayKey(algorithm))));
    problems = lintProblems(parseTbs(bytes), view, request);
  } catch (error) {
    problems = [`it cannot be parsed: ${error instanceof Error ? error.message : String(error)}`];
  }
  if (problems.length > 0) throw failed(problems, request);
  // The brand exists for the compiler only; what counts at run time is the identity of the object.
  const token = Object.freeze({}) as LintedTbs;
  const issuerSpki = request.issuer === 'self' ? request.spki : request.issuer.spki;
  clearances.set(token, { tbs: bytes, algorithm, issuerSpki });
  return token;
}

/**
 * Has the issuer sign what passed the lint, and returns the certificate, DER. The token is spent, also if signing
 * fails. On return the signature has not been verified: `checkIssued` does that.
 * Errors: `certificate.lint-failed` for a spent token or the signer of another issuer; those of the signer.
 */
export async function signTbs(token: LintedTbs, issuerSigner: Signer): Promise<Uint8Array> {
  const clearance = clearances.get(token);
  clearances.delete(token);
  if (clearance === undefined) {
    throw new CroupierError(
      'certificate.lint-failed',
      'nothing was signed: the token of the lint has been used already',
    );
  }
  if (!equalBytes(clearance.issuerSpki, issuerSigner.spki)) {
    throw new CroupierError('certificate.lint-failed', 'nothing was signed: the signing key is not that of the issuer');
  }
  return assemble(clearance.tbs, clearance.algorithm, await issuerSigner.sign(clearance.tbs));
}
