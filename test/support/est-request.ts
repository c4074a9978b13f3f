/** One enrolment request over the wire, as a device without our agent would make it. */
import { request as httpsRequest } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import { encodeBase64 } from '#pki/est/base64.ts';
import { createCsr } from '#pki/csr/create.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import type { Ticket } from '#schema/ticket.ts';

export interface EstAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** A CSR for a fresh key, DER. */
export async function freshCsr(commonName: string): Promise<Uint8Array> {
  const { signer } = await generateSoftwareKey('EC-P256');
  return createCsr({ subject: { commonName }, signer });
}

/** Asks with the ticket's code. The server is not verified: what it answers is the test's business. */
export function requestCertificate(ticket: Ticket, csr: Uint8Array): Promise<EstAnswer> {
  const basic = Buffer.from(`${ticket.device}:${ticket.code}`).toString('base64');
  return send(ticket.est, 'simpleenroll', csr, { Authorization: `Basic ${basic}` }, {});
}

/** Asks with a client certificate, PEM. */
export function requestRenewal(
  est: string,
  csr: Uint8Array,
  identity: { readonly cert: string; readonly key: string },
): Promise<EstAnswer> {
  return send(est, 'simplereenroll', csr, {}, identity);
}

function send(
  est: string,
  operation: string,
  csr: Uint8Array,
  headers: Readonly<Record<string, string>>,
  tls: SecureContextOptions,
): Promise<EstAnswer> {
  const { hostname, port } = new URL(est);
  const body = encodeBase64(csr);
  const { promise, resolve, reject } = Promise.withResolvers<EstAnswer>();
  const request = httpsRequest({
    ...tls,
    host: hostname,
    port,
    path: `/.well-known/est/${operation}`,
    method: 'POST',
    headers: {
      ...headers,
      'Content-Type': 'application/pkcs10',
      'Content-Length': Buffer.byteLength(body),
      Connection: 'close',
    },
    rejectUnauthorized: false,
    agent: false,
  });
  request.on('error', reject);
  request.on('response', (response) => {
    const parts: Buffer[] = [];
    response.on('data', (part: Buffer) => parts.push(part));
    response.on('end', () => {
      const { statusCode: status = 0, headers: answered } = response;
      resolve({ status, retryAfter: answered['retry-after'], body: Buffer.concat(parts).toString('latin1') });
    });
  });
  request.end(body);
  return promise;
}
