/**
 * TLS to the gateway, for a device whose clock may be wrong.
 *
 * OpenSSL judges a server's certificate by the system clock, which may be dead. So the handshake is let through, and
 * before the first byte of ours is sent the server is judged here: OpenSSL's verdict may only have found fault with the
 * time, its name must match, and the whole chain is validated again by the time that the device can trust. The proof of
 * possession in the handshake is OpenSSL's business and holds whatever is decided about the certificate.
 */
import { Buffer } from 'node:buffer';
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import {
  connect,
  createSecureContext,
  type DetailedPeerCertificate,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { ChainCache, validateChain } from '#pki/certificate/chain.ts';
import { encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { OID } from '#pki/der/oid.ts';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import type { TimeReading } from '../clock/trusted-time.ts';

/** A client certificate with its key. */
export interface TlsIdentity {
  /** DER. */
  readonly certificate: Uint8Array;
  /** DER. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8, PEM. */
  readonly privateKey: string;
}

/** Whom to believe, and by what time. */
export interface ServerTrust {
  /** CA certificates, DER: roots or intermediates. */
  readonly anchors: readonly Uint8Array[];
  readonly time: TimeReading;
}

export interface TlsRequest {
  readonly host: string;
  readonly port: number;
  readonly identity?: TlsIdentity | undefined;
  /** `unauthenticated` only to fetch what proves itself (RFC 7030, 4.1.1). */
  readonly trust: ServerTrust | 'unauthenticated';
  readonly timeoutMs: number;
  /** Ends the attempt. */
  readonly signal?: AbortSignal | undefined;
}

/** What OpenSSL says of a certificate that it would accept at another time. */
const TIME_FAULTS: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const MAXIMUM_CHAIN = 8;

/**
 * The time at which to judge a chain that is valid from `notBefore` on. A time that the gateway confirmed judges
 * exactly. Otherwise only the floor is certain: what had expired by then is refused, but a certificate that is younger
 * than the floor tells merely that time has passed.
 */
export function judgementTime(time: TimeReading, notBefore: Date): Date {
  return time.trusted ? time.now : new Date(Math.max(time.floor.getTime(), notBefore.getTime()));
}

/** The certificates that the server sent after its own, DER. */
function issuers(leaf: X509Certificate): Uint8Array[] {
  const found: Uint8Array[] = [];
  let last = leaf;
  while (found.length < MAXIMUM_CHAIN) {
    const issuer = last.issuerCertificate;
    if (issuer === undefined || Buffer.compare(issuer.raw, last.raw) === 0) break;
    found.push(issuer.raw);
    last = issuer;
  }
  return found;
}

/** Chains of servers. They are the same for all devices of a realm, so that a process needs one. */
const serverChains = new ChainCache(64);

/** Names come from subjectAltName alone (RFC 9525). */
function isFor(leaf: X509Certificate, host: string): boolean {
  return isIP(host) === 0 ? leaf.checkHost(host, { subject: 'never' }) !== undefined : leaf.checkIP(host) !== undefined;
}

/**
 * Judges the server's certificate. On return it is for `host`, has serverAuth, and its path to an anchor holds at the
 * time that `judgementTime` names. Errors: `certificate.*`.
 */
export function judgeServer(leaf: X509Certificate, host: string, trust: ServerTrust): void {
  const question = { anchors: trust.anchors, extendedKeyUsage: OID.serverAuth } as const;
  const others = issuers(leaf);
  const { notBefore, path } = validateChain(leaf.raw, others, { ...question, at: 'ignore-time' }, serverChains);
  vouchFor(path.slice(1, -1), trust.anchors);
  validateChain(leaf.raw, others, { ...question, at: judgementTime(trust.time, notBefore) }, serverChains);
  if (!isFor(leaf, host)) {
    throw new CroupierError('certificate.untrusted', `the server's certificate is not for ${host}`);
  }
}

function judge(socket: TLSSocket, host: string, trust: ServerTrust): void {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) throw new CroupierError('certificate.untrusted', 'the server has sent no certificate');
  judgeServer(leaf, host, trust);
  // With rejectUnauthorized off, Node leaves OpenSSL's verdict (an error code) here.
  const verdict: unknown = socket.authorizationError;
  const code = verdict instanceof Error && 'code' in verdict ? String(verdict.code) : String(verdict);
  if (!socket.authorized && !TIME_FAULTS.has(code)) {
    throw new CroupierError('certificate.untrusted', `the server's certificate is refused: ${code}`);
  }
}

/**
 * CAs between an anchor and a server judged before, by the anchors. OpenSSL takes them as anchors, which spares it to
 * verify the same signature of the root in every handshake; the judgement here still follows the whole path.
 */
const vouched = new Map<string, string>();

function vouchFor(intermediates: readonly Uint8Array[], anchors: readonly Uint8Array[]): void {
  if (intermediates.length === 0) return;
  const known = encodePemAll('CERTIFICATE', anchors);
  if (vouched.size >= SHARED_CONTEXTS && !vouched.has(known)) vouched.clear();
  vouched.set(known, encodePemAll('CERTIFICATE', intermediates));
}

/** PEM. An empty list keeps Node from loading the public roots, which nobody here trusts. */
function trustedBy(trust: TlsRequest['trust']): string | [] {
  if (trust === 'unauthenticated') return [];
  const anchors = encodePemAll('CERTIFICATE', trust.anchors);
  return anchors + (vouched.get(anchors) ?? '');
}

/** Contexts without a client certificate, by their anchors: all agents of a process share them. */
const sharedContexts = new Map<string, SecureContext>();
const SHARED_CONTEXTS = 16;

function sharedContext(trust: TlsRequest['trust']): SecureContext {
  const ca = trustedBy(trust);
  const name = typeof ca === 'string' ? ca : '';
  const known = sharedContexts.get(name);
  if (known !== undefined) return known;
  const context = createSecureContext({ minVersion: 'TLSv1.2', ca, allowPartialTrustChain: true });
  if (sharedContexts.size >= SHARED_CONTEXTS) sharedContexts.clear();
  sharedContexts.set(name, context);
  return context;
}

/** The handshake's material. */
function contextFor(trust: TlsRequest['trust'], identity: TlsIdentity | undefined): SecureContext {
  if (identity === undefined) return sharedContext(trust);
  return createSecureContext({
    minVersion: 'TLSv1.2',
    ca: trustedBy(trust),
    allowPartialTrustChain: true,
    cert: encodePem('CERTIFICATE', identity.certificate) + encodePemAll('CERTIFICATE', identity.chain),
    key: identity.privateKey,
  });
}

function connectFault(error: unknown, where: string): CroupierError {
  return asCroupierError(error, 'network.unreachable', `no TLS connection to ${where}: ${reason(error)}`);
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  return 'code' in error ? String(error.code) : error.name;
}

const nobodysCertificate = (): PeerCertificate & DetailedPeerCertificate => Object.create(null);

/**
 * Opens a TLS connection, 1.2 or newer, on which the server has been judged as described above; nothing has been sent
 * yet. Errors: `network.unreachable`, `network.timeout`, `certificate.*`.
 */
export async function connectTls(request: TlsRequest): Promise<TLSSocket> {
  const { host, port, trust, identity, timeoutMs, signal } = request;
  const where = `${host}:${port}`;
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  let socket: TLSSocket;
  try {
    socket = connect({
      host,
      port,
      secureContext: contextFor(trust, identity),
      rejectUnauthorized: false,
      // The name is judged below, with everything else.
      checkServerIdentity: () => undefined,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
  } catch (error) {
    throw connectFault(error, where);
  }
  // Node describes the whole chain anew for checkServerIdentity, which is most of the cost of a handshake, for nobody.
  socket.getPeerCertificate = nobodysCertificate;
  const late = setTimeout(() => {
    reject(new CroupierError('network.timeout', `no TLS connection to ${where} within ${timeoutMs} ms`));
  }, timeoutMs);
  const aborted = (): void =>
    reject(new CroupierError('network.unreachable', `the connection to ${where} was given up`));
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted === true) aborted();
  const fail = (error: Error): void => reject(connectFault(error, where));
  const closed = (): void => reject(connectFault(new Error('closed'), where));
  socket
    .on('error', fail)
    .once('close', closed)
    .once('secureConnect', () => resolve(undefined));
  try {
    await promise;
    if (trust !== 'unauthenticated') judge(socket, host, trust);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', aborted);
    socket.off('close', closed);
    // After a fault the socket may report another one, which nobody waits for: that listener stays.
    if (!socket.destroyed) socket.off('error', fail);
  }
}
