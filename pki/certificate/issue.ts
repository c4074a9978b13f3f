/** The whole way of a certificate: build, lint, record, sign, check. */
import type { Signer } from '#pki/keys/signer.ts';
import { checkIssued } from './invariants.ts';
import type { Issuer } from './issuer.ts';
import { lintTbs, signTbs } from './lint.ts';
import { serialNumberHex } from './serial-number.ts';
import { buildTbs, type TbsRequest } from './tbs.ts';

/** What is recorded before the HSM signs. */
export interface IssuanceIntent {
  /** Lower-case hex. */
  readonly serialNumber: string;
  /** TBSCertificate, DER. */
  readonly tbs: Uint8Array;
}

/**
 * Issues one certificate, DER. `recordIntent` must have stored the intent durably when it resolves; if it rejects,
 * nothing is signed. On return the signature is verified and the bytes are those recorded.
 * Errors: those of `buildTbs`, `lintTbs`, `signTbs`, `checkIssued` and of `recordIntent`.
 */
export async function issueCertificate(
  request: TbsRequest,
  signer: Signer,
  recordIntent: (intent: IssuanceIntent) => Promise<void>,
): Promise<Uint8Array> {
  const tbs = buildTbs(request);
  const token = lintTbs(tbs, request);
  await recordIntent({ serialNumber: serialNumberHex(request.serialNumber), tbs });
  const certificate = await signTbs(token, signer);
  checkIssued(certificate, { tbs, issuer: request.issuer, spki: request.spki });
  return certificate;
}

const DAY = 86_400_000;

/**
 * A validity of `days` from `now` that stays within the issuer's; it begins `backdateSeconds` earlier, for devices whose
 * clock is late. Whole seconds.
 */
export function validityWithin(
  issuer: Pick<Issuer, 'notBefore' | 'notAfter'>,
  wanted: { readonly now: Date; readonly days: number; readonly backdateSeconds?: number },
): { readonly notBefore: Date; readonly notAfter: Date } {
  const start = Math.floor(wanted.now.getTime() / 1000) * 1000;
  const notBefore = Math.max(start - (wanted.backdateSeconds ?? 0) * 1000, issuer.notBefore.getTime());
  const seconds = Math.round((wanted.days * DAY) / 1000);
  const notAfter = Math.min(notBefore + seconds * 1000, issuer.notAfter.getTime());
  return { notBefore: new Date(notBefore), notAfter: new Date(notAfter) };
}
