/** Object identifiers that Croupier writes or reads, under the names of their standards. */
import { Buffer } from 'node:buffer';

const encoded = new Map<string, Uint8Array>();

/** The TLV of an OBJECT IDENTIFIER; encodings are kept, since few are used very often. */
export function encodeOid(dotted: string): Uint8Array {
  const known = encoded.get(dotted);
  if (known !== undefined) return known;
  const [first = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt);
  const body: number[] = [];
  for (const arc of [first * 40n + second, ...rest]) {
    const octets = [Number(arc & 0x7fn)];
    for (let left = arc >> 7n; left > 0n; left >>= 7n) octets.unshift(Number(left & 0x7fn) | 0x80);
    body.push(...octets);
  }
  const der = Buffer.from([0x06, body.length, ...body]);
  encoded.set(dotted, der);
  return der;
}

/** Dotted forms of the identifiers named below, by their content octets: nearly all that are read are among them. */
const named = new Map<string, string>();

const octetsOf = (content: Uint8Array): string =>
  Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');

/**
 * Dotted form of the content octets of an OBJECT IDENTIFIER, or undefined if they are not one in DER: empty, cut off
 * within an arc, or an arc with a leading zero octet (two encodings of one identifier would let a parser be fooled).
 */
export function decodeOid(content: Uint8Array): string | undefined {
  return (content.length <= 64 ? named.get(octetsOf(content)) : undefined) ?? decodeArcs(content);
}

function decodeArcs(content: Uint8Array): string | undefined {
  if (((content.at(-1) ?? 0x80) & 0x80) !== 0 || content.length > 64) return undefined;
  const arcs: bigint[] = [];
  let value = 0n;
  for (const octet of content) {
    if (value === 0n && octet === 0x80) return undefined;
    value = (value << 7n) | BigInt(octet & 0x7f);
    if (!(octet & 0x80)) {
      arcs.push(value);
      value = 0n;
    }
  }
  const [head = 0n, ...rest] = arcs;
  const first = head < 40n ? 0n : head < 80n ? 1n : 2n;
  return [first, head - first * 40n, ...rest].join('.');
}

/**
 * Croupier's own arc: 2.25.<uuid> (X.667) needs no registration and collides with nobody's.
 */
const CROUPIER = '2.25.263993403296985874034071491679137231681';

export const OID = {
  // PKCS#1, X9.62, RFC 8410
  rsaEncryption: '1.2.840.113549.1.1.1',
  rsaesOaep: '1.2.840.113549.1.1.7',
  mgf1: '1.2.840.113549.1.1.8',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  sha384WithRsa: '1.2.840.113549.1.1.12',
  sha512WithRsa: '1.2.840.113549.1.1.13',
  ecPublicKey: '1.2.840.10045.2.1',
  p256: '1.2.840.10045.3.1.7',
  p384: '1.3.132.0.34',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  ed25519: '1.3.101.112',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
  // CMS (RFC 5652, 5083, 5084, 5753)
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  authEnvelopedData: '1.2.840.113549.1.9.16.1.23',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  aes256Gcm: '2.16.840.1.101.3.4.1.46',
  aes256Wrap: '2.16.840.1.101.3.4.1.45',
  dhSinglePassStdDhSha256Kdf: '1.3.132.1.11.1',
  // PKCS#9 / PKCS#10
  challengePassword: '1.2.840.113549.1.9.7',
  extensionRequest: '1.2.840.113549.1.9.14',
  // Distinguished names
  commonName: '2.5.4.3',
  serialNumber: '2.5.4.5',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  // Extensions (RFC 5280)
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  crlReason: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  crlDistributionPoints: '2.5.29.31',
  certificatePolicies: '2.5.29.32',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  ocsp: '1.3.6.1.5.5.7.48.1',
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
  hardwareModuleName: '1.3.6.1.5.5.7.8.4',
  // Extended key usages
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  // Croupier
  messageSigning: `${CROUPIER}.1.1`,
  auditSigning: `${CROUPIER}.1.2`,
} as const;

for (const dotted of Object.values(OID)) named.set(octetsOf(encodeOid(dotted).subarray(2)), dotted);
