/** One enrolment request over the wire, as a device without our agent would make it. */
import { request as httpsRequest } from 'node:https';
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
  const { hostname, port } = new URL(ticket.est);
  const body = encodeBase64(csr);
  const headers = {
    Authorization: `Basic ${Buffer.from(`${ticket.device}:${ticket.code}`).toString('base64')}`,
    'Content-Type': 'application/pkcs10',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  };
  const path = '/.well-known/est/simpleenroll';
  const { promise, resolve, reject } = Promise.withResolvers<EstAnswer>();
  const request = httpsRequest({
    host: hostname,
    port,
    path,
    method: 'POST',
    headers,
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
