/** SubjectPublicKeyInfo (RFC 5480, RFC 8017 A.1) from the attributes of a PKCS#11 public key object. */
import { CroupierError } from '#schema/errors.ts';
import { bitString, nullValue, oid, sequence, unsignedInteger } from '#pki/der/writer.ts';
import { OID } from '#pki/der/oid.ts';

/** `parameters` is CKA_EC_PARAMS (DER); `point` is CKA_EC_POINT: a DER OCTET STRING, or from some modules the bare point. */
export function ecSpki(parameters: Uint8Array, point: Uint8Array): Uint8Array {
  return sequence(sequence(oid(OID.ecPublicKey), parameters), bitString(barePoint(point)));
}

export function rsaSpki(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const key = sequence(unsignedInteger(modulus), unsignedInteger(exponent));
  return sequence(sequence(oid(OID.rsaEncryption), nullValue()), bitString(key));
}

/** Lengths of uncompressed points on P-256 and P-384; as an OCTET STRING each is two octets longer, so they never meet. */
const POINT_LENGTHS = new Set([65, 97]);

function barePoint(point: Uint8Array): Uint8Array {
  if (POINT_LENGTHS.has(point.length)) return point;
  if (point[0] === 0x04 && point[1] === point.length - 2 && POINT_LENGTHS.has(point.length - 2))
    return point.subarray(2);
  throw new CroupierError(
    'hsm.mechanism-unsupported',
    `the HSM gives a public point of ${point.length} bytes; an uncompressed point of P-256 or P-384 is needed`,
  );
}
