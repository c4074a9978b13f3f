/** What the agent holds, as the JSON documents that the socket answers with and the exporter writes beside its files. */
import { CroupierError } from '#schema/errors.ts';
import type { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import { encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import type { AgentView, IdentityView, KeyringView, KeyVersionView, TrustView } from '../view.ts';

export interface KeyringDocument {
  readonly keySet: KeySetName;
  readonly revision: number;
  readonly active: KeyVersionNumber | null;
  readonly accept: readonly KeyVersionNumber[];
  readonly versions: readonly KeyVersionView[];
}

/** A version that may be used, with its bytes. */
export interface KeyDocument extends KeyVersionView {
  /** Base64 of the raw key. */
  readonly key: string;
}

export interface IdentityDocument {
  readonly realm: string;
  readonly device: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** PEM. */
  readonly certificate: string;
  /** PEM of the intermediates, the issuer first, without the root. */
  readonly chain: string;
}

export interface TrustDocument {
  readonly version: number;
  readonly expiresAt: string;
  /** PEM of the anchors by purpose. */
  readonly anchors: Readonly<Record<string, string>>;
  /** Base64 of the bundle as it was published (CMS, DER): whoever lost it can take it from here. */
  readonly bundle: string;
}

const versionDocument = ({ version, state, algorithm, use, kcv }: KeyVersionView): KeyVersionView => ({
  version,
  state,
  algorithm,
  use,
  kcv,
});

/** A keyring without key bytes. */
export function keyringDocument(keyring: KeyringView): KeyringDocument {
  const { keySet, revision, active, accept } = keyring;
  return { keySet, revision, active, accept, versions: keyring.versions.map(versionDocument) };
}

/** Errors: `keyset.not-found`. */
export function findKeyring(view: AgentView, keySet: string): KeyringView {
  const keyring = view.keyrings().find((candidate) => candidate.keySet === keySet);
  if (keyring === undefined) throw new CroupierError('keyset.not-found', `this device holds no key set ${keySet}`);
  return keyring;
}

/** Versions that may be used for work: held, accepted, and neither retired nor destroyed. */
export function usableVersions(keyring: KeyringView): readonly KeyVersionView[] {
  return keyring.versions.filter(
    ({ version, state }) =>
      (state === 'active' || state === 'stored') && (version === keyring.active || keyring.accept.includes(version)),
  );
}

/**
 * The usable versions of a keyring with their bytes, or the one asked for. The agent's copy of the bytes is wiped
 * once it is encoded.
 * Errors: `keyset.version-not-found`; `keyset.state-refused` for a version that is held but not to be used.
 */
export function keyDocuments(view: AgentView, keyring: KeyringView, wanted?: number): readonly KeyDocument[] {
  const usable = usableVersions(keyring);
  if (wanted === undefined) return usable.flatMap((version) => keyDocument(view, keyring.keySet, version) ?? []);
  const known = keyring.versions.find(({ version }) => version === wanted);
  if (known === undefined) {
    throw new CroupierError('keyset.version-not-found', `this device holds no version ${wanted} of ${keyring.keySet}`);
  }
  const document = usable.includes(known) ? keyDocument(view, keyring.keySet, known) : undefined;
  if (document === undefined) {
    throw new CroupierError(
      'keyset.state-refused',
      `version ${wanted} of ${keyring.keySet} is ${known.state} and not to be used`,
      {
        detail: { state: known.state },
      },
    );
  }
  return [document];
}

function keyDocument(view: AgentView, keySet: KeySetName, version: KeyVersionView): KeyDocument | undefined {
  const bytes = view.keyBytes(keySet, version.version);
  if (bytes === undefined) return undefined;
  try {
    return { ...versionDocument(version), key: bytes.toBase64() };
  } finally {
    bytes.fill(0);
  }
}

/** Certificate and chain; the private key is not among them. */
export function identityDocument(identity: IdentityView): IdentityDocument {
  return {
    realm: identity.realm,
    device: identity.device,
    serial: identity.serial,
    notBefore: identity.notBefore.toISOString(),
    notAfter: identity.notAfter.toISOString(),
    certificate: encodePem('CERTIFICATE', identity.certificate),
    chain: encodePemAll('CERTIFICATE', identity.chain),
  };
}

/** PKCS#8, PEM. */
export function privateKeyPem(identity: IdentityView): string {
  return identity.privateKey.export({ type: 'pkcs8', format: 'pem' });
}

export function trustDocument(trust: TrustView): TrustDocument {
  const anchors = Object.entries(trust.anchors).map(
    ([purpose, ders]) => [purpose, encodePemAll('CERTIFICATE', ders)] as const,
  );
  return {
    version: trust.version,
    expiresAt: trust.expiresAt.toISOString(),
    anchors: Object.fromEntries(anchors),
    bundle: Buffer.from(trust.bundle).toString('base64'),
  };
}
