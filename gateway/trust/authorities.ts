/** The authorities of the realm as a running gateway uses them: certificates from the store, keys in the HSM. */
import { readIssuer, type Issuer } from '#pki/certificate/issuer.ts';
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { CroupierError } from '#schema/errors.ts';
import type { AuthorityRecord, AuthorityRole } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TrustAnchors } from './bundle.ts';

export interface Authorities {
  /** DER. */
  readonly root: Uint8Array;
  readonly operationsCa: Uint8Array;
  readonly deviceCa: {
    readonly certificate: Uint8Array;
    readonly issuer: Issuer;
    readonly signer: Signer;
    readonly keyLabel: string;
  };
  readonly messageSigner: MessageSigner;
  readonly standbySigner: MessageSigner;
  readonly auditSigner: MessageSigner;
}

/** Errors: `config.missing` when the realm is not initialised, `hsm.*` when a key is not in the HSM. */
export async function loadAuthorities(store: Store, keyStore: KeyStore): Promise<Authorities> {
  const records = new Map((await store.authorities()).map((record) => [record.role, record]));
  const find = (role: AuthorityRole): AuthorityRecord => {
    const record = records.get(role);
    if (record === undefined) throw new CroupierError('config.missing', `there is no ${role}; run croupier init`);
    return record;
  };
  const operationsCa = find('operations-ca').certificate;
  const messageSigner = async (role: AuthorityRole): Promise<MessageSigner> => {
    const record = find(role);
    return { signer: await keyStore.signer(record.keyLabel), certificate: record.certificate, chain: [operationsCa] };
  };
  const deviceCa = find('device-ca');
  return {
    root: find('root').certificate,
    operationsCa,
    deviceCa: {
      certificate: deviceCa.certificate,
      issuer: readIssuer(deviceCa.certificate),
      signer: await keyStore.signer(deviceCa.keyLabel),
      keyLabel: deviceCa.keyLabel,
    },
    messageSigner: await messageSigner('message-signer'),
    standbySigner: await messageSigner('message-signer-standby'),
    auditSigner: await messageSigner('audit-signer'),
  };
}

/** Anchors of the realm's own purposes. Identity: the Device CA; transport: the root; messages: the Operations CA. */
export function realmAnchors(authorities: Authorities, others: TrustAnchors['others']): TrustAnchors {
  return {
    identity: [authorities.deviceCa.certificate],
    transport: [authorities.root],
    messages: [authorities.operationsCa],
    others,
  };
}
