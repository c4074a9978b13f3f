/** Manufacturer certificates (IDevID, IEEE 802.1AR): is it genuine, and which machine does it name. */
import type { KeyObject } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';
import { validateChain } from './chain.ts';
import { certificateFingerprint, parseCertificate } from './parse.ts';

export interface ManufacturerIdentity {
  /** The serialNumber attribute of the subject (802.1AR, 8.6), as the asset register should know it. */
  readonly serialNumber: string | undefined;
  readonly commonName: string | undefined;
  readonly organization: string | undefined;
  /** Serial number of the hardware module (RFC 4108), hex. */
  readonly hardwareSerial: string | undefined;
  /** SHA-256 of the anchor that vouches for it: the inventory maps serial numbers per manufacturer. */
  readonly anchorFingerprint: string;
  readonly publicKey: KeyObject;
}

/** A device's certificate, its manufacturer's intermediates and a few more. */
const MAXIMUM_INTERMEDIATES = 8;

/**
 * Validates a manufacturer's certificate (all DER) and says whom it names. On return the path to one of `anchors` has
 * been verified at `at` (RFC 5280, 6), the leaf is no CA and may sign. Revocation has not been checked, nor that whoever
 * presents it holds the key (TLS does that), nor that the inventory knows the machine.
 * Errors: `certificate.malformed`, `certificate.untrusted`, `certificate.expired`, `certificate.not-yet-valid`,
 * `certificate.purpose-refused`; the last also if it names no machine.
 */
export function validateManufacturerChain(
  leaf: Uint8Array,
  intermediates: readonly Uint8Array[],
  anchors: readonly Uint8Array[],
  at: Date,
): ManufacturerIdentity {
  if (intermediates.length > MAXIMUM_INTERMEDIATES) {
    throw new CroupierError(
      'certificate.untrusted',
      `the chain has more than ${MAXIMUM_INTERMEDIATES} intermediate certificates`,
    );
  }
  const chain = validateChain(leaf, intermediates, { anchors, at });
  const anchor = chain.path.at(-1);
  const { subjectName, subjectAltNames } = parseCertificate(leaf);
  const { serialNumber, commonName, organization } = subjectName;
  const { hardwareSerial } = subjectAltNames;
  if (anchor === undefined || (serialNumber ?? commonName ?? hardwareSerial) === undefined) {
    throw new CroupierError(
      'certificate.purpose-refused',
      'the manufacturer certificate names no machine: neither serial number nor common name',
    );
  }
  return {
    serialNumber,
    commonName,
    organization,
    hardwareSerial,
    anchorFingerprint: certificateFingerprint(anchor),
    publicKey: chain.publicKey,
  };
}
