/** Verification of CMS SignedData (RFC 5652, 5.4 and 5.6): by one known certificate, or by chain to an anchor. */
import { Buffer } from 'node:buffer';
import { X509Certificate, hash, verify, type KeyObject } from 'node:crypto';
import { validateChain, type ChainCache, type ChainTrust, type ValidatedChain } from '#pki/certificate/chain.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import { isAllowedKey } from './algorithms.ts';
import { identifies, type CertificateNames } from './sid.ts';
import { parseSignedData, type MessageLimits, type ParsedSignedData, type ParsedSigner } from './signed-data.ts';

export { parseSignedData, type MessageLimits, type ParsedSignedData, type ParsedSigner } from './signed-data.ts';

const invalid = (what: string): CroupierError => new CroupierError('message.signature-invalid', what);

/**
 * Verifies one SignerInfo of a parsed message with `publicKey`: eContentType and the contentType attribute are id-data,
 * messageDigest is the content's, the key is of an allowed type and size (ECDSA P-256 or P-384, RSA from 2048 bits), the
 * signature covers the signed attributes. Says nothing about whose key it is.
 * Errors: `message.malformed`, `message.signature-invalid`.
 */
export function verifySignature(parsed: ParsedSignedData, signerIndex: number, publicKey: KeyObject): void {
  const signer = parsed.signers[signerIndex];
  if (signer === undefined) throw new CroupierError('message.malformed', `the message has no signer ${signerIndex}`);
  if (parsed.contentType !== OID.data || signer.contentType !== OID.data) {
    throw new CroupierError('message.malformed', 'the content is not of type id-data');
  }
  if (Buffer.compare(hash(signer.digestAlgorithm, parsed.content, 'buffer'), signer.messageDigest) !== 0) {
    throw invalid('the content is not the one that was signed');
  }
  if (!isAllowedKey(publicKey, signer.signatureAlgorithm)) {
    throw invalid('the key of the signer is not of the type or size that the signature needs');
  }
  if (!verify(signer.digestAlgorithm, signer.signedAttributes, publicKey, signer.signature)) {
    throw invalid('the signature does not verify with the key of the signer');
  }
}

/** A certificate made ready to verify many messages; see `prepareSignerCertificate`. */
export interface SignerCertificate {
  readonly der: Uint8Array;
  readonly names: CertificateNames;
  readonly publicKey: KeyObject;
}

/**
 * Parses a certificate, DER, once for many calls of `verifySignedBy`. Verifies nothing.
 * Errors: `certificate.malformed`.
 */
export function prepareSignerCertificate(der: Uint8Array): SignerCertificate {
  const { issuer, serialNumber, subjectKeyIdentifier } = parseCertificate(der);
  try {
    // Not all that was parsed: whoever prepares, keeps one of these for each device.
    const names = { issuer, serialNumber, subjectKeyIdentifier };
    return { der, names, publicKey: new X509Certificate(der).publicKey };
  } catch (error) {
    throw new CroupierError('certificate.malformed', 'the certificate or its key cannot be parsed', { cause: error });
  }
}

/**
 * Verifies a message that one known key must have signed, and returns its content. On return: there is exactly one
 * signer, it names this certificate, and the signature holds as in `verifySignature`. Neither the certificate's validity,
 * chain nor usages are looked at: that the caller trusts it for this is the premise. Embedded certificates play no part,
 * but if there are any, this one must be among them.
 * Errors: `input.too-large`, `message.malformed`, `message.signature-invalid`, `certificate.malformed`.
 */
export function verifySignedBy(
  der: Uint8Array,
  certificate: Uint8Array | SignerCertificate,
  limits: MessageLimits,
): Uint8Array {
  const parsed = parseSignedData(der, limits);
  return verifyParsedBy(
    parsed,
    certificate instanceof Uint8Array ? prepareSignerCertificate(certificate) : certificate,
  );
}

/** `verifySignedBy` of a message that has been parsed already. Errors: as there. */
export function verifyParsedBy(parsed: ParsedSignedData, certificate: SignerCertificate): Uint8Array {
  const [signer, ...more] = parsed.signers;
  if (signer === undefined || more.length > 0) {
    throw new CroupierError('message.malformed', `the message has ${parsed.signers.length} signers instead of one`);
  }
  if (!identifies(signer.sid, certificate.names)) throw invalid('the message names another signer');
  if (parsed.certificates.length > 0 && Buffer.compare(signer.certificate ?? Buffer.of(), certificate.der) !== 0) {
    throw invalid('the message carries another certificate of the signer');
  }
  verifySignature(parsed, 0, certificate.publicKey);
  return parsed.content;
}

export interface MessageTrust extends ChainTrust {
  /** If given, the signer's key must be one of these: SHA-256 of its SubjectPublicKeyInfo, lower-case hex. */
  readonly pinnedSpkiSha256?: readonly string[];
}

export interface VerifyMessageOptions extends MessageLimits {
  /** Most signers a message may have; 1 unless told. */
  readonly maxSigners?: number;
  /** Keeps validated chains, so that the next message of the same signer costs one signature check. */
  readonly cache?: ChainCache;
}

export interface TrustedSigner {
  readonly certificate: X509Certificate;
  readonly der: Uint8Array;
  readonly signingTime: Date | undefined;
}

export interface VerifiedMessage {
  readonly content: Uint8Array;
  /** The signers that the trust given covers; at least one. */
  readonly signers: readonly TrustedSigner[];
}

/** Before its chain is known, a signer's key may only say whether the message was altered. */
function signerKey(signer: ParsedSigner, trust: MessageTrust, cache: ChainCache | undefined): [Uint8Array, KeyObject] {
  const { certificate } = signer;
  if (certificate === undefined) {
    throw new CroupierError('message.signer-untrusted', 'the message does not carry the certificate of its signer');
  }
  const known = cache?.find(certificate, trust);
  if (known !== undefined) return [certificate, known.publicKey];
  try {
    return [certificate, prepareSignerCertificate(certificate).publicKey];
  } catch (error) {
    throw new CroupierError('message.malformed', 'the certificate of the signer cannot be parsed', { cause: error });
  }
}

function trustedChain(
  certificate: Uint8Array,
  parsed: ParsedSignedData,
  trust: MessageTrust,
  cache: ChainCache | undefined,
): ValidatedChain {
  const others = parsed.certificates.filter((der) => der !== certificate);
  const chain = validateChain(certificate, others, trust, cache);
  const { pinnedSpkiSha256 } = trust;
  if (pinnedSpkiSha256 !== undefined) {
    const pin = hash('sha256', chain.publicKey.export({ type: 'spki', format: 'der' }), 'hex');
    if (!pinnedSpkiSha256.includes(pin))
      throw new CroupierError('message.signer-untrusted', 'the key of the signer is not pinned');
  }
  return chain;
}

const SIGNER_FAULTS: ReadonlySet<ErrorCode> = new Set([
  'certificate.untrusted',
  'certificate.purpose-refused',
  'certificate.malformed',
]);

function asMessageError(error: unknown): unknown {
  if (!(error instanceof CroupierError) || !SIGNER_FAULTS.has(error.code)) return error;
  return new CroupierError('message.signer-untrusted', `the signer is not trusted: ${error.message}`, { cause: error });
}

/**
 * Verifies a message by the chain of its signer. On return: every signature of the message holds as in
 * `verifySignature`, made with the key of the embedded certificate that it names; the certificates of the `signers`
 * returned, at least one, satisfy `validateChain` with `trust`, and their keys are pinned if pins are given. A message
 * with several signers is accepted if one of them is trusted; the others are not returned. Signatures come first:
 * no certificate of an altered message is walked. Not verified: revocation, anything about the content.
 * Errors: `input.too-large`, `message.malformed`, `message.signature-invalid`, `message.signer-untrusted` (its `cause`
 * says why), `certificate.expired`, `certificate.not-yet-valid`.
 */
export function verifyMessage(der: Uint8Array, trust: MessageTrust, options: VerifyMessageOptions): VerifiedMessage {
  const { maxSigners = 1, cache } = options;
  const parsed = parseSignedData(der, options);
  if (parsed.signers.length > maxSigners) {
    throw new CroupierError(
      'message.malformed',
      `the message has ${parsed.signers.length} signers; allowed: ${maxSigners}`,
    );
  }
  const certificates = parsed.signers.map((signer, index) => {
    const [certificate, publicKey] = signerKey(signer, trust, cache);
    verifySignature(parsed, index, publicKey);
    return { certificate, signingTime: signer.signingTime };
  });
  const signers: TrustedSigner[] = [];
  let failure: unknown;
  for (const { certificate, signingTime } of certificates) {
    try {
      const chain = trustedChain(certificate, parsed, trust, cache);
      signers.push({ certificate: chain.leaf, der: certificate, signingTime });
    } catch (error) {
      failure ??= asMessageError(error);
    }
  }
  if (signers.length === 0) throw failure;
  return { content: parsed.content, signers };
}
