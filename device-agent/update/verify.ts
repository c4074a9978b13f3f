/** An update's signature and signer, before anything in it counts. */
import { parseSignedData, verifyMessage, type MessageTrust } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { Update } from '#schema/messages/update.ts';
import type { TimeReading } from '../clock/trusted-time.ts';
import { signerChains, type ReadBundle } from '../trust/bundle.ts';
import { readBody } from './body.ts';

const LIMITS = { maxBytes: MAX_MESSAGE_BYTES };

/**
 * Verifies an update, CMS DER, and reads its body. On return: one signer, its signature holds, its certificate chains to
 * the `messages` anchors of `bundle` with the usage messageSigning, its key is one of the bundle's message signers, and
 * the chain is valid at the device's time (before the gateway confirmed that: at the floor) or, if later, at the times
 * that the update itself names: what it may teach about the time ends with its signer's certificate, so that a gateway
 * whose clock has gone astray cannot carry the device's floor beyond that. Not verified: anything else that the body says.
 * Errors: `input.too-large`, `message.malformed`, `message.version-unsupported`, `message.signature-invalid`,
 * `message.signer-untrusted`, `certificate.expired`, `certificate.not-yet-valid`.
 */
export function verifyUpdate(der: Uint8Array, bundle: ReadBundle, time: TimeReading): Update {
  const trust: MessageTrust = {
    anchors: bundle.anchors.messages,
    at: 'ignore-time',
    extendedKeyUsage: OID.messageSigning,
    pinnedSpkiSha256: bundle.pinnedSpkiSha256,
  };
  const { content, signers } = verifyMessage(der, trust, { ...LIMITS, cache: signerChains });
  const update = readBody(Update, content, 'update');
  const certain = time.trusted ? time.now : time.floor;
  const at = new Date(Math.max(certain.getTime(), Date.parse(update.issuedAt), Date.parse(update.time)));
  const isValidNow = signers.every((signer) => signerChains.find(signer.der, { ...trust, at }) !== undefined);
  // Refuses by name, unless another path of the signer is valid at this time.
  if (!isValidNow) verifyMessage(der, { ...trust, at }, LIMITS);
  return update;
}

/** What an update claims, unverified: a hint where to look, never a fact. Undefined if it cannot be read. */
export function claimsOf(der: Uint8Array): Pick<Update, 'seq' | 'trustVersion'> | undefined {
  try {
    return readBody(Update, parseSignedData(der, LIMITS).content, 'update');
  } catch {
    return undefined;
  }
}
