/** ECDSA signatures: PKCS#11 gives `r || s`, X.509 and CMS want `SEQUENCE { INTEGER r, INTEGER s }` (RFC 3279, 2.2.3). */
import { Buffer } from 'node:buffer';

/** DER of a raw signature of at most 2 × 48 octets, so that every length fits one octet. Nothing is verified. */
export function ecdsaSignatureToDer(raw: Uint8Array): Uint8Array {
  const half = raw.length >> 1;
  if (half === 0 || half > 48 || raw.length % 2 === 1)
    throw new RangeError(`not a raw ECDSA signature: ${raw.length} bytes`);
  let r = 0;
  while (r < half - 1 && raw[r] === 0) r += 1;
  let s = half;
  while (s < raw.length - 1 && raw[s] === 0) s += 1;
  const padR = (raw[r] ?? 0) >> 7;
  const padS = (raw[s] ?? 0) >> 7;
  const lengthR = half - r + padR;
  const lengthS = raw.length - s + padS;
  const der = Buffer.alloc(6 + lengthR + lengthS);
  der[0] = 0x30;
  der[1] = 4 + lengthR + lengthS;
  der[2] = 0x02;
  der[3] = lengthR;
  der.set(raw.subarray(r, half), 4 + padR);
  der[4 + lengthR] = 0x02;
  der[5 + lengthR] = lengthS;
  der.set(raw.subarray(s), 6 + lengthR + padS);
  return der;
}
