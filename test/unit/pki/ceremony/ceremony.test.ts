import { createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { intermediateCeremony, requestIntermediate } from '#pki/ceremony/intermediate.ts';
import { HSM_LABELS } from '#pki/ceremony/labels.ts';
import { generateTlsServerKey } from '#pki/ceremony/operational.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import { createCsr } from '#pki/csr/create.ts';
import { OID } from '#pki/der/oid.ts';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';
import { CroupierError } from '#schema/errors.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, flipped, freshSpki } from '#test/support/test-pki.ts';

const pki = await createTestPki();
const { setting } = pki;
const rootKey = { rootCertificate: pki.root.certificate, rootSigner: pki.root.signer };

describe('the root ceremony', () => {
  test('then the token holds the key "root" and the record says who made what, when', async () => {
    expect(await pki.rootStore.labels()).toEqual(['root']);
    const { record, certificate } = pki.root.ceremony;
    expect(record).toMatchObject({
      ceremony: 'root',
      realm: 'test',
      operator: 'Casino Nürnberg',
      performedBy: ['Ada', 'Grace'],
      performedAt: setting.now.toISOString(),
      keyLabel: 'root',
      algorithm: 'EC-P256',
      commonName: 'Croupier Root CA',
      certificateFingerprint: certificateFingerprint(certificate),
      issuerFingerprint: certificateFingerprint(certificate),
    });
    const parsed = parseCertificate(certificate);
    expect(parsed.basicConstraints).toEqual({ ca: true, pathLength: 1 });
    expect([...(parsed.keyUsage ?? [])]).toEqual(['keyCertSign', 'cRLSign']);
    expect(parsed.extendedKeyUsage).toBeUndefined();
  });

  test('given a root already, then its key is never overwritten', async () => {
    const again = { ...setting, keyStore: pki.rootStore, algorithm: 'EC-P256', years: 20 } as const;
    await expectRefusal('hsm.key-exists', () => rootCeremony(again));
  });

  test('given more than 20 years, then nothing is signed', async () => {
    const ceremony = { ...setting, keyStore: createMemoryKeyStore(), algorithm: 'EC-P256' } as const;
    await expectRefusal('certificate.lint-failed', () => rootCeremony({ ...ceremony, years: 21 }));
  });
});

describe('an intermediate ceremony', () => {
  test('then the HSM holds both keys, and each certificate has its own purposes and no authority below it', async () => {
    expect(await pki.hsm.labels()).toEqual(['device-ca-1', 'operations-ca-1']);
    const device = parseCertificate(pki.deviceCa.certificate);
    const operations = parseCertificate(pki.operationsCa.certificate);
    expect(device.extendedKeyUsage).toEqual([OID.clientAuth]);
    expect(operations.extendedKeyUsage).toEqual(expect.arrayContaining([OID.messageSigning, OID.serverAuth]));
    for (const { basicConstraints, issuer } of [device, operations]) {
      expect(basicConstraints).toEqual({ ca: true, pathLength: 0 });
      expect(issuer).toEqual(pki.root.issuer.name);
    }
    expect(pki.deviceCa.ceremony.record.issuerFingerprint).toBe(certificateFingerprint(pki.root.certificate));
  });

  test('given a successor, then it stands beside its predecessor', async () => {
    const name = { kind: 'device-ca', generation: 2, realm: 'test', operator: setting.operator } as const;
    const csr = await requestIntermediate({ ...name, hsm: pki.hsm, algorithm: 'EC-P384' });
    const { record } = await intermediateCeremony({ ...setting, ...name, ...rootKey, csr, years: 3 });
    expect(record).toMatchObject({ keyLabel: 'device-ca-2', commonName: 'Croupier Device CA 2', algorithm: 'EC-P384' });
    await expectRefusal('hsm.key-exists', () => requestIntermediate({ ...name, hsm: pki.hsm, algorithm: 'EC-P256' }));
  });

  test('given a request altered on its way, of another name or another realm, then the root does not sign', async () => {
    const name = { kind: 'operations-ca', generation: 3, realm: 'test', operator: setting.operator } as const;
    const hsm = createMemoryKeyStore();
    const csr = await requestIntermediate({ ...name, hsm, algorithm: 'EC-P256' });
    const run = (changes: object) => () =>
      intermediateCeremony({ ...setting, ...name, ...rootKey, csr, years: 5, ...changes });
    await run({})();
    const before = pki.intents.length;
    await expectRefusal('csr.signature-invalid', run({ csr: flipped(csr, csr.length - 1) }));
    await expectRefusal('csr.subject-mismatch', run({ kind: 'device-ca' }));
    await expectRefusal('csr.subject-mismatch', run({ generation: 4 }));
    await expectRefusal('certificate.purpose-refused', run({ realm: 'other' }));
    await expectRefusal(
      'certificate.purpose-refused',
      run({ rootCertificate: pki.operationsCa.certificate, rootSigner: pki.operationsCa.signer }),
    );
    expect(pki.intents).toHaveLength(before);
    await expectRefusal('certificate.lint-failed', run({ rootSigner: pki.operationsCa.signer }));
    await expectRefusal('certificate.lint-failed', run({ years: 6 }));
  });

  test('given that the intent cannot be recorded, then nothing is signed', async () => {
    const name = { kind: 'device-ca', generation: 9, realm: 'test', operator: setting.operator } as const;
    const csr = await createCsr({
      subject: { commonName: 'Croupier Device CA 9', organizationalUnit: 'test', organization: setting.operator },
      signer: await pki.hsm.generateSigningKey('device-ca-9', 'EC-P256'),
    });
    let signatures = 0;
    const rootSigner = {
      ...pki.root.signer,
      sign: async (data: Uint8Array) => {
        signatures += 1;
        return pki.root.signer.sign(data);
      },
    };
    const ceremony = { ...setting, ...name, ...rootKey, rootSigner, csr, years: 5 };
    const failing = { ...ceremony, recordIntent: () => Promise.reject(new CroupierError('store.unavailable')) };
    await expectRefusal('store.unavailable', () => intermediateCeremony(failing));
    expect(signatures).toBe(0);
    await intermediateCeremony(ceremony);
    expect(signatures).toBe(1);
  });
});

describe('certificates under the Operations CA', () => {
  test.each([
    ['message-signer', HSM_LABELS.messageSigner(1), [OID.messageSigning, OID.emailProtection]],
    ['message-signer', HSM_LABELS.messageSigner(2), [OID.messageSigning, OID.emailProtection]],
    ['audit-signer', HSM_LABELS.auditSigner(1), [OID.auditSigning]],
    ['ocsp-responder', HSM_LABELS.ocspResponder(1), [OID.ocspSigning]],
  ] as const)('given a %s with the key %s, then it has these purposes alone', async (kind, keyLabel, purposes) => {
    const { spki } = await pki.hsm.generateSigningKey(keyLabel, 'EC-P256');
    const { certificate, record } = await pki.issueOperational({
      kind,
      commonName: `Croupier ${keyLabel}`,
      spki,
      keyLabel,
    });
    const parsed = parseCertificate(certificate);
    expect(parsed.extendedKeyUsage).toEqual(purposes);
    expect([...(parsed.keyUsage ?? [])]).toEqual(['digitalSignature']);
    expect(parsed.extensions.has(OID.ocspNoCheck)).toBe(kind === 'ocsp-responder');
    expect(record).toMatchObject({ ceremony: kind, keyLabel, commonName: `Croupier ${keyLabel}` });
    expect(pki.intents.at(-1)?.serialNumber).toBe(parsed.serialNumber);
  });

  test('given the key of a TLS listener, then its PEM is the private key of the certificate', async () => {
    const { privateKeyPem, spki } = await generateTlsServerKey('EC-P256');
    const hosts = [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: '::1' },
    ] as const;
    const { certificate, record } = await pki.issueOperational({
      kind: 'tls-server',
      commonName: 'gateway',
      spki,
      hosts,
    });
    const own = createPublicKey(createPrivateKey(privateKeyPem)).export({ format: 'der', type: 'spki' });
    expect(own).toEqual(parseCertificate(certificate).spki);
    expect(parseCertificate(certificate).subjectAltNames).toMatchObject({
      dnsNames: ['localhost'],
      ipAddresses: ['0:0:0:0:0:0:0:1'],
    });
    expect(record.keyLabel).toBeNull();
  });

  test('given the Device CA or another realm as issuer, too many days or a weak key, then nothing is issued', async () => {
    const spki = await freshSpki('EC-P256');
    const wanted = { kind: 'message-signer', commonName: 'x', spki } as const;
    await pki.issueOperational(wanted);
    await expectRefusal('certificate.purpose-refused', () =>
      pki.issueOperational({
        ...wanted,
        operationsCertificate: pki.deviceCa.certificate,
        operationsSigner: pki.deviceCa.signer,
      }),
    );
    await expectRefusal('certificate.purpose-refused', () => pki.issueOperational({ ...wanted, realm: 'other' }));
    await expectRefusal('certificate.lint-failed', () => pki.issueOperational({ ...wanted, days: 1097 }));
    await expectRefusal('csr.key-weak', () =>
      pki.issueOperational({ ...wanted, spki: flipped(spki, spki.length - 1) }),
    );
  });
});
