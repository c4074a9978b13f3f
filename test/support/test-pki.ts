/** A whole realm, made by the real ceremonies on working key stores in memory, and devices to go with it. */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { deviceUri } from '#pki/certificate/device-uri.ts';
import { issueCertificate, type IssuanceIntent } from '#pki/certificate/issue.ts';
import { readIssuer, type Issuer } from '#pki/certificate/issuer.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { serialNumberFrom } from '#pki/certificate/serial-number.ts';
import type { TbsRequest } from '#pki/certificate/tbs.ts';
import { intermediateCeremony, requestIntermediate, type IntermediateKind } from '#pki/ceremony/intermediate.ts';
import { issueOperational, type OperationalIssuance } from '#pki/ceremony/operational.ts';
import type { CeremonyResult, CeremonySetting } from '#pki/ceremony/record.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import type { KeyAlgorithm, Signer } from '#pki/keys/signer.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { createMemoryKeyStore, type MemoryKeyStore } from '#pki/keystore/memory.ts';

export interface TestAuthority {
  readonly certificate: Uint8Array;
  readonly signer: Signer;
  readonly issuer: Issuer;
  readonly ceremony: CeremonyResult;
}

export interface TestPki {
  readonly setting: CeremonySetting;
  /** All intents recorded before a signature, in order. */
  readonly intents: readonly IssuanceIntent[];
  readonly rootStore: MemoryKeyStore;
  readonly hsm: MemoryKeyStore;
  readonly root: TestAuthority;
  readonly deviceCa: TestAuthority;
  readonly operationsCa: TestAuthority;
  deviceRequest(spki: Uint8Array, changes?: Partial<TbsRequest>): TbsRequest;
  issueDevice(spki: Uint8Array, changes?: Partial<TbsRequest>): Promise<Uint8Array>;
  issueOperational(
    wanted: Pick<OperationalIssuance, 'kind' | 'commonName' | 'spki'> & Partial<OperationalIssuance>,
  ): Promise<CeremonyResult>;
}

export const DAY = 86_400_000;

/** Bytes that look random and are the same in every run. */
export function seededBytes(seed: string): (length: number) => Uint8Array {
  let counter = 0;
  return (length) => {
    counter += 1;
    return createHash('shake256', { outputLength: length }).update(`${seed}/${counter}`).digest();
  };
}

/** The current time in whole seconds, since openssl and TLS judge by the real clock. */
export function currentSecond(): Date {
  return new Date(Math.floor(Date.now() / 1000) * 1000);
}

export async function createTestPki(
  options: { readonly realm?: string; readonly algorithm?: KeyAlgorithm; readonly now?: Date } = {},
): Promise<TestPki> {
  const { realm = 'test', algorithm = 'EC-P256', now = currentSecond() } = options;
  const intents: IssuanceIntent[] = [];
  const setting: CeremonySetting = {
    realm,
    operator: 'Casino Nürnberg',
    performedBy: ['Ada', 'Grace'],
    now,
    randomBytes: seededBytes(realm),
    recordIntent: async (intent) => {
      intents.push(intent);
    },
  };
  const rootStore = createMemoryKeyStore();
  const hsm = createMemoryKeyStore();

  async function authority(ceremony: CeremonyResult, store: MemoryKeyStore): Promise<TestAuthority> {
    const signer = await store.signer(ceremony.record.keyLabel ?? '');
    return { certificate: ceremony.certificate, signer, issuer: readIssuer(ceremony.certificate), ceremony };
  }

  const root = await authority(
    await rootCeremony({ ...setting, keyStore: rootStore, algorithm, years: 20 }),
    rootStore,
  );

  async function intermediate(kind: IntermediateKind): Promise<TestAuthority> {
    const name = { kind, generation: 1, realm, operator: setting.operator };
    const csr = await requestIntermediate({ ...name, hsm, algorithm });
    const rootKey = { rootCertificate: root.certificate, rootSigner: root.signer };
    return authority(await intermediateCeremony({ ...setting, ...name, ...rootKey, csr, years: 5 }), hsm);
  }

  const deviceCa = await intermediate('device-ca');
  const operationsCa = await intermediate('operations-ca');

  function deviceRequest(spki: Uint8Array, changes: Partial<TbsRequest> = {}): TbsRequest {
    return {
      profile: certificateProfile('device'),
      issuer: deviceCa.issuer,
      serialNumber: serialNumberFrom(setting.randomBytes(16)),
      notBefore: now,
      notAfter: new Date(now.getTime() + 365 * DAY),
      subject: { commonName: 'egm-0001', organizationalUnit: 'egm', organization: setting.operator },
      spki,
      subjectAltNames: [{ type: 'uri', value: deviceUri({ realm, site: 'main-floor', class: 'egm', id: 'egm-0001' }) }],
      ...changes,
    };
  }

  return {
    setting,
    intents,
    rootStore,
    hsm,
    root,
    deviceCa,
    operationsCa,
    deviceRequest,
    issueDevice: (spki, changes) =>
      issueCertificate(deviceRequest(spki, changes), deviceCa.signer, setting.recordIntent),
    issueOperational: (wanted) =>
      issueOperational({
        ...setting,
        operationsCertificate: operationsCa.certificate,
        operationsSigner: operationsCa.signer,
        keyLabel: null,
        days: 90,
        ...wanted,
      }),
  };
}

/** SubjectPublicKeyInfo of a fresh key. */
export async function freshSpki(algorithm: KeyAlgorithm): Promise<Uint8Array> {
  return (await generateSoftwareKey(algorithm)).signer.spki;
}

/** A copy with one octet changed. */
export function flipped(bytes: Uint8Array, index: number): Uint8Array {
  const copy = Buffer.from(bytes);
  copy[index] = (copy[index] ?? 0) ^ 0x01;
  return copy;
}
