/** The PKCS#10 of a request: read whole, within limits, and decoded. */
import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { decodeBase64OrPem } from '#pki/est/base64.ts';
import { CroupierError } from '#schema/errors.ts';

export const MAXIMUM_BODY = 64 * 1024;
/** Of a body that is too large, this much is read and thrown away, so that the client gets to read the answer. */
const MAXIMUM_WASTE = 4 * 1024 * 1024;

const tooLarge = (): CroupierError =>
  new CroupierError('input.too-large', `the body has more than ${MAXIMUM_BODY} bytes`);

/** The body as received. Errors: `input.too-large`; `input.invalid` if the client leaves before its end. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const parts: Buffer[] = [];
  let size = 0;
  request.on('data', (part: Buffer) => {
    size += part.length;
    if (size <= MAXIMUM_BODY) parts.push(part);
    else if (size > MAXIMUM_WASTE) reject(tooLarge());
    else parts.length = 0;
  });
  const left = (): void => reject(new CroupierError('input.invalid', 'the request ended before its body was complete'));
  request.once('error', left);
  request.once('close', left);
  request.once('end', () => {
    request.off('close', left);
    if (size > MAXIMUM_BODY) reject(tooLarge());
    else resolve(Buffer.concat(parts, size));
  });
  return promise;
}

/** A DER SEQUENCE with a length of two or three octets, as every PKCS#10 begins. */
const looksLikeDer = (body: Buffer): boolean => body[0] === 0x30 && (body[1] === 0x81 || body[1] === 0x82);

/**
 * The PKCS#10 (DER) of a body in base64, wrapped or not (RFC 8951, 3.1), or in PEM armour. Bare DER is refused with
 * that reason. Errors: `base64.malformed`.
 */
export function decodeRequest(body: Buffer): Uint8Array {
  if (looksLikeDer(body)) {
    throw new CroupierError('base64.malformed', 'the body is bare DER; send it in base64 (RFC 8951, 3.1)');
  }
  return decodeBase64OrPem(body, { maxBytes: MAXIMUM_BODY });
}
