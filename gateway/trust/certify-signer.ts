/** Certificates of message signers and of the audit signer, whose keys are in the HSM, under the current Operations CA. */
import { createHash, randomBytes } from 'node:crypto';
import { issueOperational } from '#pki/ceremony/operational.ts';
import type { CeremonySetting } from '#pki/ceremony/record.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { AuthorityRole } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { generationOf, type Step } from './decide-authority.ts';
import { isCertified } from './lineage.ts';

export interface CertifierPorts {
  readonly realm: Realm;
  /** Organisation in certificates. */
  readonly operator: string;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
}

const SIGNER_DAYS = 365 * 3;

/** The circumstances of a certificate that the gateway issues on the authority of an operator. */
export function operatorCeremony(
  { realm, operator, store, clock }: Omit<CertifierPorts, 'keyStore'>,
  { actor, approval }: Pick<Step, 'actor' | 'approval'>,
): CeremonySetting {
  return {
    realm,
    operator,
    performedBy: [actor.id, ...(approval?.approvers ?? [])],
    now: clock.now(),
    randomBytes: (length) => randomBytes(length),
    recordIntent: ({ serialNumber, tbs }) =>
      store.appendAudit(
        [
          {
            action: 'certificate.intend',
            outcome: 'success',
            actor,
            ...(approval === undefined ? {} : { approval }),
            object: { type: 'certificate', id: serialNumber },
            details: { tbs: createHash('sha256').update(tbs).digest('hex') },
          },
        ],
        clock.now(),
      ),
  };
}

/**
 * Certifies the key of this label in the HSM; the intent is on record before the signature. Returns the certificate, DER.
 * Errors: `hsm.*`, `config.missing`, `certificate.lint-failed`.
 */
export async function certifySigner(
  ports: CertifierPorts,
  wanted: { readonly role: AuthorityRole; readonly keyLabel: string },
  step: Pick<Step, 'actor' | 'approval'>,
): Promise<Uint8Array> {
  const { store, keyStore } = ports;
  const operationsCa = await store.authority('operations-ca');
  if (operationsCa === undefined || !isCertified(operationsCa))
    throw new CroupierError('config.missing', 'there is no Operations CA; run croupier init');
  const { keyLabel, role } = wanted;
  const isAudit = role === 'audit-signer';
  const { certificate } = await issueOperational({
    ...operatorCeremony(ports, step),
    operationsCertificate: operationsCa.certificate,
    operationsSigner: await keyStore.signer(operationsCa.keyLabel),
    kind: isAudit ? 'audit-signer' : 'message-signer',
    commonName: `Croupier ${isAudit ? 'Audit' : 'Message'} Signer ${generationOf(keyLabel)}`,
    spki: (await keyStore.signer(keyLabel)).spki,
    keyLabel,
    days: SIGNER_DAYS,
  });
  return certificate;
}
