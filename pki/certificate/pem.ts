/** Textual encoding of DER structures (RFC 7468). */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';

export type PemLabel = 'CERTIFICATE' | 'CERTIFICATE REQUEST' | 'X509 CRL' | 'PUBLIC KEY' | 'CMS' | 'PKCS7';

const MAXIMUM_TEXT = 1024 * 1024;
const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** PEM of one DER structure: lines of 64 characters, LF, a newline at the end. */
export function encodePem(label: PemLabel, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64');
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** PEM of several structures, one after the other. */
export function encodePemAll(label: PemLabel, ders: readonly Uint8Array[]): string {
  return ders.map((der) => encodePem(label, der)).join('');
}

/**
 * DER of every block with this label, in order; text between blocks and blocks of other labels are passed over.
 * Errors: `input.too-large` beyond 1 MiB, `base64.malformed`.
 */
export function decodePemAll(label: PemLabel, text: string): Uint8Array[] {
  if (text.length > MAXIMUM_TEXT)
    throw new CroupierError('input.too-large', `PEM text exceeds ${MAXIMUM_TEXT} characters`);
  const found: Uint8Array[] = [];
  for (const [, blockLabel, body = ''] of text.matchAll(BLOCK)) {
    if (blockLabel !== label) continue;
    const base64 = body.replace(/\s+/g, '');
    if (base64 === '' || !BASE64.test(base64))
      throw new CroupierError('base64.malformed', `a PEM block ${label} is not base64`);
    found.push(Buffer.from(base64, 'base64'));
  }
  return found;
}

/** DER of the one block with this label. Errors: as `decodePemAll`, and `input.invalid` for none or several. */
export function decodePem(label: PemLabel, text: string): Uint8Array {
  const [der, ...more] = decodePemAll(label, text);
  if (der === undefined || more.length > 0) {
    throw new CroupierError(
      'input.invalid',
      `expected one PEM block ${label}, found ${der === undefined ? 'none' : more.length + 1}`,
    );
  }
  return der;
}
