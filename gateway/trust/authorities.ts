/** The authorities of the realm as a running gateway uses them: certificates from the store, keys in the HSM. */
import { readIssuer, type Issuer } from '#pki/certificate/issuer.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { AuthorityRecord, AuthorityRole } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TrustAnchors } from './bundle.ts';
import { auditRoot, authoritiesIn, certifierOf, rootAbove, type CertifiedAuthority } from './lineage.ts';

/** A Device CA with its key. */
export interface IssuingCa {
  /** DER. */
  readonly certificate: Uint8Array;
  readonly issuer: Issuer;
  readonly signer: Signer;
  readonly keyLabel: string;
}

export interface Authorities {
  /** The root above the current Operations CA, and so above the gateway's TLS certificate: the one for tickets. DER. */
  readonly root: Uint8Array;
  /** The root above the audit signer, DER. */
  readonly auditRoot: Uint8Array;
  /** The current one, DER: it certifies the gateway's TLS key and the message signers. */
  readonly operationsCa: Uint8Array;
  /** The one that issues. */
  readonly deviceCa: IssuingCa;
  /** Every Device CA that has a list of revoked certificates: the one that issues first, then those that did. */
  readonly crlIssuers: readonly IssuingCa[];
  readonly messageSigner: MessageSigner;
  /** None between a compromise and the switch to a new standby. */
  readonly standbySigner: MessageSigner | undefined;
  readonly auditSigner: MessageSigner;
  /** Next, current and previous certificates (DER) by the realm's own purposes, the current ones first. */
  readonly anchors: Pick<TrustAnchors, 'identity' | 'transport' | 'messages'>;
  /** Device CAs (DER) below which an EST client may have a certificate: the anchors, and withdrawn ones. */
  readonly estClientCas: readonly Uint8Array[];
  /** Since when certificates of a Device CA (by its key's label) count as expired, because it was withdrawn. */
  readonly withdrawnAt: (keyLabel: string) => Date | undefined;
}

function required<Found>(found: Found | undefined, role: string): Found {
  if (found === undefined) throw new CroupierError('config.missing', `there is no ${role}; run croupier init`);
  return found;
}

const certificatesOf = (records: readonly CertifiedAuthority[]): readonly Uint8Array[] =>
  records.map(({ certificate }) => certificate);

/** A CA that issues no more may have left the HSM; then there are no lists of it either. */
async function signerIfHeld(keyStore: KeyStore, keyLabel: string): Promise<Signer | undefined> {
  try {
    return await keyStore.signer(keyLabel);
  } catch (error) {
    if (errorCode(error) === 'hsm.key-not-found') return undefined;
    throw error;
  }
}

/** Errors: `config.missing` when the realm is not initialised, `hsm.*` when a key is not in the HSM. */
export async function loadAuthorities(store: Store, keyStore: KeyStore): Promise<Authorities> {
  const records = await store.authorities();
  const current = (role: AuthorityRole): CertifiedAuthority =>
    required(authoritiesIn(records, role, ['current'])[0], role);
  const operationsCa = current('operations-ca');
  const messageSigner = async ({ keyLabel, certificate }: CertifiedAuthority): Promise<MessageSigner> => ({
    signer: await keyStore.signer(keyLabel),
    certificate,
    chain: [required(certifierOf(records, certificate), `Operations CA above ${keyLabel}`).certificate],
  });
  const issuingCa = (record: CertifiedAuthority, signer: Signer): IssuingCa => ({
    certificate: record.certificate,
    issuer: readIssuer(record.certificate),
    signer,
    keyLabel: record.keyLabel,
  });

  const deviceCa = issuingCa(current('device-ca'), await keyStore.signer(current('device-ca').keyLabel));
  const crlIssuers = [deviceCa];
  for (const record of authoritiesIn(records, 'device-ca', ['previous', 'withdrawn'])) {
    const signer = await signerIfHeld(keyStore, record.keyLabel);
    if (signer !== undefined) crlIssuers.push(issuingCa(record, signer));
  }
  const [standby] = authoritiesIn(records, 'message-signer-standby', ['current']);
  const withdrawn = new Map(
    records
      .filter(({ role, state }) => role === 'device-ca' && state === 'withdrawn')
      .map((record: AuthorityRecord) => [record.keyLabel, record.changedAt]),
  );
  const anchors = {
    identity: certificatesOf(authoritiesIn(records, 'device-ca')),
    transport: certificatesOf(authoritiesIn(records, 'root')),
    messages: certificatesOf(authoritiesIn(records, 'operations-ca')),
  };
  return {
    root: required(rootAbove(records, operationsCa.certificate), 'root above the Operations CA').certificate,
    auditRoot: required(auditRoot(records), 'root above the audit signer').certificate,
    operationsCa: operationsCa.certificate,
    deviceCa,
    crlIssuers,
    messageSigner: await messageSigner(current('message-signer')),
    standbySigner: standby === undefined ? undefined : await messageSigner(standby),
    auditSigner: await messageSigner(current('audit-signer')),
    anchors,
    estClientCas: [...anchors.identity, ...certificatesOf(authoritiesIn(records, 'device-ca', ['withdrawn']))],
    withdrawnAt: (keyLabel) => withdrawn.get(keyLabel),
  };
}

/** The authorities in use. A change of theirs is taken up without a restart: whoever needs one asks at each use. */
export interface HeldAuthorities {
  readonly get: () => Authorities;
  /** Loads them anew, then tells who has to be told. Errors: those of `loadAuthorities` and of the listeners. */
  readonly reload: () => Promise<void>;
  readonly onChange: (listener: () => Promise<void>) => void;
}

/** Errors: those of `loadAuthorities`. */
export async function holdAuthorities(store: Store, keyStore: KeyStore): Promise<HeldAuthorities> {
  let held = await loadAuthorities(store, keyStore);
  const listeners: (() => Promise<void>)[] = [];
  return {
    get: () => held,
    reload: async () => {
      held = await loadAuthorities(store, keyStore);
      for (const listener of listeners) await listener();
    },
    onChange: (listener) => void listeners.push(listener),
  };
}

/** CA certificates for clients, DER: the current Device CA, Operations CA and root first. */
export function caCertificates({ anchors }: Authorities): readonly Uint8Array[] {
  const chains = [anchors.identity, anchors.messages, anchors.transport];
  return [...chains.flatMap((list) => list.slice(0, 1)), ...chains.flatMap((list) => list.slice(1))];
}
