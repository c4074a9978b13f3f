/**
 * The intermediate ceremony, in two steps, since the token of the root and that of the HSM need not be in one machine at
 * one time: the HSM generates the key and a request (PKCS#10), which may travel; the root signs what the request asks.
 */
import { CroupierError } from '#schema/errors.ts';
import { issueCertificate, validityWithin } from '#pki/certificate/issue.ts';
import { readIssuer } from '#pki/certificate/issuer.ts';
import type { DistinguishedName } from '#pki/certificate/name.ts';
import { certificateProfile } from '#pki/certificate/profile.ts';
import { serialNumberFrom } from '#pki/certificate/serial-number.ts';
import { checkPublicKey, verifyProofOfPossession } from '#pki/csr/check.ts';
import { createCsr } from '#pki/csr/create.ts';
import { parseCsr } from '#pki/csr/parse.ts';
import { KEY_ALGORITHMS, type KeyAlgorithm, type Signer } from '#pki/keys/signer.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { HSM_LABELS } from './labels.ts';
import { describeCeremony, type CeremonyResult, type CeremonySetting } from './record.ts';
import { daysOfYears } from './validity.ts';

export type IntermediateKind = 'device-ca' | 'operations-ca';

export interface IntermediateName {
  readonly kind: IntermediateKind;
  /** 1 for the first; a successor gets the next number, in its name and its key label. */
  readonly generation: number;
  readonly realm: string;
  readonly operator: string;
}

/** Label of the key in the HSM. */
export function intermediateLabel(name: Pick<IntermediateName, 'kind' | 'generation'>): string {
  return name.kind === 'device-ca' ? HSM_LABELS.deviceCa(name.generation) : HSM_LABELS.operationsCa(name.generation);
}

/** The subject that request and certificate must have. */
export function intermediateSubject(name: IntermediateName): DistinguishedName {
  const role = name.kind === 'device-ca' ? 'Device' : 'Operations';
  return {
    commonName: `Croupier ${role} CA ${name.generation}`,
    organizationalUnit: name.realm,
    organization: name.operator,
  };
}

/** Which authority a request (DER) is for, as its subject says. Errors: `der.malformed`, `csr.subject-mismatch`. */
export function requestedIntermediate(csr: Uint8Array): IntermediateName {
  const { commonName = '', organizationalUnit: realm, organization: operator } = parseCsr(csr).subjectName;
  const [, role, number] = /^Croupier (Device|Operations) CA ([1-9]\d{0,5})$/.exec(commonName) ?? [];
  if (role === undefined || realm === undefined || operator === undefined) {
    throw new CroupierError('csr.subject-mismatch', `the request is not that of a Device CA or Operations CA`);
  }
  return { kind: role === 'Device' ? 'device-ca' : 'operations-ca', generation: Number(number), realm, operator };
}

/**
 * Step 1, at the HSM: generates `device-ca-N` or `operations-ca-N` and returns its request, DER.
 * Errors: `hsm.key-exists` and others of the KeyStore.
 */
export async function requestIntermediate(
  request: IntermediateName & { readonly hsm: KeyStore; readonly algorithm: KeyAlgorithm },
): Promise<Uint8Array> {
  const signer = await request.hsm.generateSigningKey(intermediateLabel(request), request.algorithm);
  return createCsr({ subject: intermediateSubject(request), signer });
}

export interface IntermediateCeremony extends CeremonySetting, IntermediateName {
  /** DER. */
  readonly rootCertificate: Uint8Array;
  readonly rootSigner: Signer;
  /** What `requestIntermediate` returned, DER. */
  readonly csr: Uint8Array;
  /** At most 5, and not beyond the root. */
  readonly years: number;
}

/**
 * Step 2, at the root's token: checks the request (possession, key, name) and has the root sign the certificate, DER.
 * Errors: those of the CSR checks, `csr.subject-mismatch`, `certificate.purpose-refused` if the issuer is no root or of
 * another realm, `certificate.lint-failed`, those of the signer and of `recordIntent`.
 */
export async function intermediateCeremony(ceremony: IntermediateCeremony): Promise<CeremonyResult> {
  const root = readIssuer(ceremony.rootCertificate);
  const { organizationalUnit: realm } = root.distinguishedName;
  if (root.kind !== 'root' || realm !== ceremony.realm) {
    throw new CroupierError('certificate.purpose-refused', `the issuer is not the root of the realm ${ceremony.realm}`);
  }
  const csr = parseCsr(ceremony.csr);
  verifyProofOfPossession(csr);
  checkPublicKey(csr.spki, KEY_ALGORITHMS);
  const subject = intermediateSubject(ceremony);
  const { subjectName } = csr;
  if (subjectName.commonName !== subject.commonName || subjectName.organizationalUnit !== subject.organizationalUnit) {
    throw new CroupierError(
      'csr.subject-mismatch',
      `the request is not that of ${subject.commonName} of the realm ${ceremony.realm}`,
    );
  }
  const certificate = await issueCertificate(
    {
      profile: certificateProfile(ceremony.kind),
      issuer: root,
      serialNumber: serialNumberFrom(ceremony.randomBytes(16)),
      ...validityWithin(root, { now: ceremony.now, days: daysOfYears(ceremony.years) }),
      subject,
      spki: csr.spki,
    },
    ceremony.rootSigner,
    ceremony.recordIntent,
  );
  return describeCeremony(ceremony.kind, ceremony, {
    certificate,
    issuerCertificate: ceremony.rootCertificate,
    keyLabel: intermediateLabel(ceremony),
  });
}
