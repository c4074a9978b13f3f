/** Making trust bundles: what the next link says, and who has to sign it. */
import { createHash } from 'node:crypto';
import { cosignMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { CroupierError } from '#schema/errors.ts';
import { Sha256, TrustVersion, type Realm } from '#schema/ids.ts';
import { MESSAGE_VERSION } from '#schema/messages/common.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';

/** Certificates (DER) by purpose; `identity`, `transport` and `messages` are always there. */
export interface TrustAnchors {
  readonly identity: readonly Uint8Array[];
  readonly transport: readonly Uint8Array[];
  readonly messages: readonly Uint8Array[];
  /** Purposes that the operator adds: firmware, config … */
  readonly others: Readonly<Record<string, readonly Uint8Array[]>>;
}

export interface NextBundle {
  readonly realm: Realm;
  readonly previous: Pick<TrustBundleRecord, 'version' | 'sha256'> | undefined;
  readonly anchors: TrustAnchors;
  readonly current: Uint8Array;
  readonly standby: Uint8Array | undefined;
  readonly now: Date;
  readonly validityMs: number;
}

const spkiOf = (certificate: Uint8Array): Sha256 => Sha256.parse(parseCertificate(certificate).spkiSha256);
const base64 = (certificates: readonly Uint8Array[]): string[] =>
  certificates.map((der) => Buffer.from(der).toString('base64'));

/** The body of version N+1. Pure. */
export function composeBundle(next: NextBundle): TrustBundle {
  const { anchors } = next;
  const others = Object.entries(anchors.others).map(([purpose, certificates]): [string, string[]] => [
    purpose,
    base64(certificates),
  ]);
  return {
    v: MESSAGE_VERSION,
    type: 'trust-bundle',
    realm: next.realm,
    version: TrustVersion.parse((next.previous?.version ?? 0) + 1),
    previous: next.previous?.sha256 ?? null,
    issuedAt: next.now.toISOString(),
    expiresAt: new Date(next.now.getTime() + next.validityMs).toISOString(),
    anchors: {
      ...Object.fromEntries(others),
      identity: base64(anchors.identity),
      transport: base64(anchors.transport),
      messages: base64(anchors.messages),
    },
    messageSigners: messageSignersOf(next.current, next.standby),
  };
}

/** The entries of message signers with these certificates, DER. */
export function messageSignersOf(current: Uint8Array, standby: Uint8Array | undefined): TrustBundle['messageSigners'] {
  return [
    { spkiSha256: spkiOf(current), role: 'current' },
    ...(standby === undefined ? [] : [{ spkiSha256: spkiOf(standby), role: 'standby' as const }]),
  ];
}

/**
 * Who signs the link: one signer that the bundle before trusts and one that the new bundle trusts; a single one when it
 * is both. Pure. Errors: `message.signer-untrusted` when no available signer is trusted by the bundle before.
 */
export function chooseSigners(
  before: TrustBundle | undefined,
  next: TrustBundle,
  available: readonly MessageSigner[],
): readonly MessageSigner[] {
  const trustedBy = (bundle: TrustBundle): MessageSigner[] =>
    available.filter((signer) =>
      bundle.messageSigners.some((entry) => entry.spkiSha256 === spkiOf(signer.certificate)),
    );
  const after = trustedBy(next);
  const old = before === undefined ? after : trustedBy(before);
  const both = old.find((signer) => after.includes(signer));
  if (both !== undefined) return [both];
  const [first] = old;
  const [second] = after;
  if (first === undefined || second === undefined) {
    throw new CroupierError(
      'message.signer-untrusted',
      'no signer at hand is trusted by the bundle before, or none by the new one',
    );
  }
  return [first, second];
}

/** Signs the bundle: CMS SignedData, DER. */
export async function signBundle(body: TrustBundle, signers: readonly MessageSigner[]): Promise<TrustBundleRecord> {
  const der = await cosignMessage(Buffer.from(JSON.stringify(body), 'utf8'), signers);
  return { version: body.version, der, sha256: Sha256.parse(createHash('sha256').update(der).digest('hex')), body };
}
