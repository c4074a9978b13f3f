/** Key check value: tells keys apart without giving them away. */
import { Buffer } from 'node:buffer';
import { createHmac } from 'node:crypto';

const CONTEXT = 'croupier kcv 1';
const OCTETS = 5;

/**
 * First 5 octets of HMAC-SHA-256(key, "croupier kcv 1"), lower-case hex. For keys of full entropy only: the check value
 * of a guessable key would confirm a guess. `key` is raw octets and is not kept.
 */
export function keyCheckValue(key: Uint8Array): string {
  const mac = createHmac('sha256', key).update(Buffer.from(CONTEXT, 'latin1')).digest();
  return mac.subarray(0, OCTETS).toString('hex');
}
