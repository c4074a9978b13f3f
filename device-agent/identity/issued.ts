/** Checks a certificate that the gateway issued before the device makes it its identity. */
import { Buffer } from 'node:buffer';
import { validateChain } from '#pki/certificate/chain.ts';
import { parseDeviceUri } from '#pki/certificate/device-uri.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
import type { IdentitySlot, Registration } from '../state/state.ts';
import { materialOf } from './material.ts';

/**
 * The slot of a certificate, DER, issued for `privateKey` (PEM). On return it is for that key, names this device and
 * realm, has clientAuth, and chains through `intermediates` to one of `anchors`; whether it is valid now is left open,
 * since the device's clock may be wrong. Errors: `certificate.*`.
 */
export function issuedSlot(
  certificate: Uint8Array,
  privateKey: string,
  registration: Registration,
  intermediates: readonly Uint8Array[],
  anchors: readonly Uint8Array[],
): IdentitySlot {
  const { spki, subjectName, subjectAltNames } = parseCertificate(certificate);
  const { realm, device } = registration;
  const isOurs = subjectAltNames.uris.map(parseDeviceUri).some((uri) => uri?.realm === realm && uri.id === device);
  if (subjectName.commonName !== device || !isOurs) {
    throw new CroupierError(
      'certificate.untrusted',
      `the certificate issued does not name ${device} of realm ${realm}`,
    );
  }
  const trust = { anchors, at: 'ignore-time', extendedKeyUsage: OID.clientAuth } as const;
  const { path } = validateChain(certificate, intermediates, trust);
  const chain = path.slice(1).filter((der) => !isSelfIssued(der));
  const slot = { privateKey, certificate, chain };
  if (Buffer.compare(spki, materialOf(slot).signer.signer.spki) !== 0) {
    throw new CroupierError('certificate.untrusted', 'the certificate issued is for another key');
  }
  return slot;
}

function isSelfIssued(der: Uint8Array): boolean {
  const { issuer, subject } = parseCertificate(der);
  return Buffer.compare(issuer, subject) === 0;
}
