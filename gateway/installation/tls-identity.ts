/** The gateway's own TLS identity: a key in a file (Node's TLS cannot use one in an HSM), certified by the Operations CA. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import { generateTlsServerKey, issueOperational } from '#pki/ceremony/operational.ts';
import type { CeremonySetting } from '#pki/ceremony/record.ts';
import { encodePemAll } from '#pki/certificate/pem.ts';
import type { Signer } from '#pki/keys/signer.ts';
import type { Config } from '#schema/config.ts';
import { writePrivateFile, writePublicFile, type DataDirectory } from './data-directory.ts';

export interface TlsIdentity {
  /** PKCS#8, PEM. */
  readonly key: string;
  /** PEM: the certificate, then the Operations CA. */
  readonly cert: string;
}

const VALIDITY_DAYS = 90;
/** Renewed at start when less than this is left. */
const RENEW_BEFORE_MS = 30 * 86_400_000;

async function readIdentity(data: DataDirectory): Promise<TlsIdentity | undefined> {
  try {
    const [key, cert] = await Promise.all([
      readFile(path.join(data.tls, 'gateway.key'), 'utf8'),
      readFile(path.join(data.tls, 'gateway.pem'), 'utf8'),
    ]);
    return { key, cert };
  } catch {
    return undefined;
  }
}

/** Whether the identity still serves: right key, right names, right issuer, enough time left. */
function isUsable(identity: TlsIdentity, names: readonly string[], operationsCa: Uint8Array, now: Date): boolean {
  const certificate = new X509Certificate(identity.cert);
  if (!certificate.checkPrivateKey(createPrivateKey(identity.key))) return false;
  if (!certificate.checkIssued(new X509Certificate(operationsCa))) return false;
  if (certificate.validToDate.getTime() - now.getTime() < RENEW_BEFORE_MS) return false;
  return names.every(
    (name) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
  );
}

/** Returns the identity on disk, or makes a new one. Errors: `hsm.*`, `certificate.lint-failed`. */
export async function ensureTlsIdentity(
  data: DataDirectory,
  config: Config,
  setting: CeremonySetting,
  operationsCa: Uint8Array,
  operationsSigner: () => Promise<Signer>,
): Promise<TlsIdentity> {
  const existing = await readIdentity(data);
  if (existing !== undefined && isUsable(existing, config.names, operationsCa, setting.now)) return existing;
  const key = await generateTlsServerKey('EC-P256');
  const { certificate } = await issueOperational({
    ...setting,
    operationsCertificate: operationsCa,
    operationsSigner: await operationsSigner(),
    kind: 'tls-server',
    commonName: config.names[0] ?? 'croupier',
    spki: key.spki,
    keyLabel: null,
    hosts: config.names.map((name) => (isIP(name) === 0 ? { type: 'dns', value: name } : { type: 'ip', value: name })),
    days: VALIDITY_DAYS,
  });
  const identity = { key: key.privateKeyPem, cert: encodePemAll('CERTIFICATE', [certificate, operationsCa]) };
  await writePrivateFile(path.join(data.tls, 'gateway.key'), identity.key);
  await writePublicFile(path.join(data.tls, 'gateway.pem'), identity.cert);
  return identity;
}
