/** The authorities that a realm begins with, from the ceremonies of a test PKI, on record in a store. */
import type { AuthorityRecord, AuthorityRole } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { TestPki } from './test-pki.ts';

const SIGNERS: readonly (readonly [AuthorityRole, 'message-signer' | 'audit-signer', string])[] = [
  ['message-signer', 'message-signer', 'message-signer-1'],
  ['message-signer-standby', 'message-signer', 'message-signer-2'],
  ['audit-signer', 'audit-signer', 'audit-signer-1'],
];

/** Makes the keys of the signers, and records every authority as the current one of its role. */
export async function seedAuthorities(store: Store, pki: TestPki, at: Date): Promise<void> {
  const record = (role: AuthorityRole, keyLabel: string, certificate: Uint8Array): AuthorityRecord => ({
    role,
    keyLabel,
    state: 'current',
    certificate,
    createdAt: at,
    changedAt: at,
  });
  const put = [
    record('root', 'root', pki.root.certificate),
    record('device-ca', 'device-ca-1', pki.deviceCa.certificate),
    record('operations-ca', 'operations-ca-1', pki.operationsCa.certificate),
  ];
  for (const [role, kind, keyLabel] of SIGNERS) {
    const { spki } = await pki.hsm.generateSigningKey(keyLabel, 'EC-P256');
    const { certificate } = await pki.issueOperational({ kind, commonName: keyLabel, spki, keyLabel });
    put.push(record(role, keyLabel, certificate));
  }
  await store.decideAuthorities(at, () => ({ kind: 'change', put, audit: [] }));
}
