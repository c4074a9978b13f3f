/** What the public listener serves: things that prove themselves, or that hold no secret. */
import { Buffer } from 'node:buffer';
import { X509Certificate } from 'node:crypto';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import { parseCrl } from '#pki/crl/parse.ts';
import { errorCode, type ErrorCode } from '#schema/errors.ts';
import { TrustVersion, type Realm } from '#schema/ids.ts';
import type { TrustStore } from '#gateway/ports/store/trust.ts';
import { RequestRefused } from './problem.ts';

export interface HealthCheck {
  /** `warn`: something is put off, nothing is lost; `fail`: the gateway does not do its work. */
  readonly status: 'pass' | 'warn' | 'fail';
  readonly code?: ErrorCode;
}

export interface PublicSources {
  readonly realm: Realm;
  readonly health: () => Promise<Readonly<Record<string, HealthCheck>>>;
  /** The latest CRL, DER, of the Device CA with this key; of the one that issues, if none is named. */
  readonly crl: (keyLabel?: string) => Promise<Uint8Array>;
  readonly trust: Pick<TrustStore, 'latestTrustBundle' | 'trustBundle'>;
  /** CA certificates, DER. */
  readonly cacerts: () => readonly Uint8Array[];
}

export interface Resource {
  readonly status: 200 | 503;
  readonly type: string;
  readonly body: Buffer;
  readonly etag?: string;
  readonly lastModified?: Date;
  readonly cacheControl: string;
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
const etagOf = (bytes: Uint8Array): string => `"${certificateFingerprint(bytes).slice(0, 32)}"`;

function json(value: object, status: 200 | 503 = 200): Resource {
  const body = Buffer.from(`${JSON.stringify(value)}\n`, 'utf8');
  return { status, type: 'application/json', body, cacheControl: 'no-store' };
}

async function health({ realm, health: look }: PublicSources): Promise<Resource> {
  const checks = await look();
  const found = new Set(Object.values(checks).map(({ status }) => status));
  const status = found.has('fail') ? 'fail' : found.has('warn') ? 'warn' : 'pass';
  return json({ status, realm, checks }, status === 'fail' ? 503 : 200);
}

/** A list is read once for its date, not at every request. */
const datesOfLists = new WeakMap<Uint8Array, Pick<Resource, 'etag' | 'lastModified'>>();

async function crl({ crl: latest }: PublicSources, keyLabel?: string): Promise<Resource> {
  const der = await latest(keyLabel).catch((error: unknown) => {
    if (errorCode(error) !== 'authority.not-found') throw error;
    throw new RequestRefused(404, `there is no revocation list of ${keyLabel ?? 'any CA'}`, 'authority.not-found');
  });
  const known = datesOfLists.get(der) ?? { etag: etagOf(der), lastModified: parseCrl(der).thisUpdate };
  datesOfLists.set(der, known);
  return { status: 200, type: 'application/pkix-crl', body: asBuffer(der), ...known, cacheControl: 'max-age=300' };
}

async function trustLink({ trust }: PublicSources, which: string): Promise<Resource> {
  const version = /^[1-9][0-9]{0,6}$/.test(which) ? TrustVersion.safeParse(Number(which)).data : undefined;
  if (which !== 'latest' && version === undefined) {
    throw new RequestRefused(404, 'a trust bundle is named by its number, or latest', 'trust.not-found');
  }
  const bundle = version === undefined ? await trust.latestTrustBundle() : await trust.trustBundle(version);
  if (bundle === undefined) throw new RequestRefused(404, `there is no trust bundle ${which}`, 'trust.not-found');
  return {
    status: 200,
    type: 'application/pkcs7-mime; smime-type=signed-data',
    body: asBuffer(bundle.der),
    etag: `"${bundle.sha256.slice(0, 32)}"`,
    // A link is kept for ever and never changes; which one is the latest does.
    cacheControl: version === undefined ? 'no-cache' : 'max-age=31536000, immutable',
  };
}

/** PEM with each certificate's subject and SHA-256 above it: to be compared with a ticket before it is believed. */
function caCertificates({ cacerts }: PublicSources): Resource {
  const text = cacerts().map((der) => {
    const subject = new X509Certificate(der).subject.split('\n').join(', ');
    return `# ${subject}\n# SHA-256 ${certificateFingerprint(der)}\n${encodePem('CERTIFICATE', der)}`;
  });
  const body = Buffer.from(text.join('\n'), 'utf8');
  return { status: 200, type: 'application/x-pem-file', body, etag: etagOf(body), cacheControl: 'max-age=300' };
}

/** The resource at a path. Errors: `RequestRefused` (404), those of the sources. */
export async function resourceAt(path: string, sources: PublicSources): Promise<Resource> {
  switch (path) {
    case '/health':
      return health(sources);
    case '/crl':
      return crl(sources);
    case '/cacerts.pem':
      return caCertificates(sources);
    case '/trust':
      return json({ latest: (await sources.trust.latestTrustBundle())?.version ?? 0 });
  }
  const [, which] = /^\/trust\/([^/]{1,16})$/.exec(path) ?? [];
  if (which !== undefined) return trustLink(sources, which);
  const [, issuer] = /^\/crl\/([a-z0-9-]{1,64})$/.exec(path) ?? [];
  if (issuer !== undefined) return crl(sources, issuer);
  throw new RequestRefused(
    404,
    'there is /health, /crl, /crl/<CA>, /trust, /trust/<number>, /trust/latest and /cacerts.pem',
  );
}
