import { describe, expect, test } from 'vitest';
import { decodePem, decodePemAll, encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const der = Buffer.from(Array.from({ length: 100 }, (_, i) => i));

describe('PEM', () => {
  test('given DER, then its PEM has lines of 64 characters and decodes to the same', () => {
    const pem = encodePem('CERTIFICATE', der);
    expect(pem.split('\n')[1]).toHaveLength(64);
    expect(decodePem('CERTIFICATE', pem)).toEqual(der);
  });

  test('given several blocks, other labels, comments and CRLF between, then all of the label come in order', () => {
    const text = `# chain\r\n${encodePemAll('CERTIFICATE', [der, der.subarray(1)]).replaceAll('\n', '\r\n')}${encodePem('X509 CRL', der)}`;
    expect(decodePemAll('CERTIFICATE', text)).toEqual([der, der.subarray(1)]);
  });

  test('given none or two blocks where one belongs, then it is refused', async () => {
    await expectRefusal('input.invalid', () => decodePem('CERTIFICATE', encodePem('X509 CRL', der)));
    await expectRefusal('input.invalid', () => decodePem('CERTIFICATE', encodePemAll('CERTIFICATE', [der, der])));
  });

  test('given base64 that is cut short, or too much text, then it is refused', async () => {
    const cut = encodePem('CERTIFICATE', der).replace('=', '');
    await expectRefusal('base64.malformed', () => decodePemAll('CERTIFICATE', cut));
    await expectRefusal('input.too-large', () => decodePemAll('CERTIFICATE', ' '.repeat(1024 * 1024 + 1)));
  });
});
