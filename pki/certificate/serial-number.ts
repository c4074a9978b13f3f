/** Certificate serial numbers: always 16 octets, positive, so that their hex is always 32 characters. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';

export const SERIAL_NUMBER_LENGTH = 16;

/** A serial number from 16 random octets; two bits are fixed, 126 stay random (RFC 5280, 4.1.2.2). */
export function serialNumberFrom(random: Uint8Array): Uint8Array {
  if (random.length !== SERIAL_NUMBER_LENGTH) {
    throw new CroupierError(
      'input.invalid',
      `a serial number is made from ${SERIAL_NUMBER_LENGTH} octets, not ${random.length}`,
    );
  }
  const serial = Buffer.from(random);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

/** Lower-case hex, the form in records, reports and `ParsedCertificate`. */
export function serialNumberHex(serial: Uint8Array): string {
  return Buffer.from(serial).toString('hex');
}

export function isSerialNumber(serial: Uint8Array): boolean {
  return serial.length === SERIAL_NUMBER_LENGTH && ((serial[0] ?? 0) & 0xc0) === 0x40;
}
