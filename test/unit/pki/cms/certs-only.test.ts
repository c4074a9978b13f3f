import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeCertsOnly, encodeCertsOnly } from '#pki/cms/certs-only.ts';
import { signMessage } from '#pki/cms/sign.ts';
import { OpensslPki, messageSigner, type Issued } from './openssl-pki.ts';

const coded = (code: string): unknown => expect.objectContaining({ code });
const hexes = (ders: readonly Uint8Array[]): string[] => ders.map((der) => Buffer.from(der).toString('hex')).sort();

let pki: OpensslPki;
let root: Issued;
let ca: Issued;

beforeAll(() => {
  pki = new OpensslPki();
  root = pki.issue('root');
  ca = pki.issue('ca', { by: root, key: 'RSA-2048' });
});
afterAll(() => pki[Symbol.dispose]());

describe('a certs-only message', () => {
  test('gives the certificates back, whatever their number', () => {
    for (const certificates of [[], [root.certificate], [root.certificate, ca.certificate]]) {
      expect(hexes(decodeCertsOnly(encodeCertsOnly(certificates)))).toEqual(hexes(certificates));
    }
  });

  test('is read by openssl', () => {
    const file = pki.file('certs.p7', encodeCertsOnly([root.certificate, ca.certificate]));
    const printed = pki.openssl('pkcs7', '-inform', 'DER', '-in', file, '-print_certs').toString();
    expect(printed.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  });

  test('of openssl is read, with a CRL or without', () => {
    const made = (...options: readonly string[]): Buffer =>
      pki.openssl('crl2pkcs7', '-certfile', ca.certificateFile, '-outform', 'DER', ...options);
    expect(hexes(decodeCertsOnly(made('-nocrl')))).toEqual(hexes([ca.certificate]));
    pki.file('index.txt', '');
    pki.file('ca.cnf', '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=1\n');
    pki.openssl(
      'ca',
      '-config',
      'ca.cnf',
      '-gencrl',
      '-keyfile',
      root.keyFile,
      '-cert',
      root.certificateFile,
      '-out',
      'crl.pem',
    );
    expect(hexes(decodeCertsOnly(made('-in', 'crl.pem')))).toEqual(hexes([ca.certificate]));
  });

  test('is refused when it is signed, cut, followed by anything, too large or something else', async () => {
    const genuine = encodeCertsOnly([root.certificate]);
    expect(decodeCertsOnly(genuine, { maxBytes: genuine.length })).toHaveLength(1);
    expect(() => decodeCertsOnly(genuine, { maxBytes: genuine.length - 1 })).toThrow(coded('input.too-large'));
    const signed = await signMessage(Buffer.of(), messageSigner(root));
    const others = [
      signed,
      genuine.subarray(0, -1),
      Buffer.concat([genuine, Buffer.of(0)]),
      root.certificate,
      Buffer.of(),
    ];
    for (const other of others) expect(() => decodeCertsOnly(other)).toThrow(coded('message.malformed'));
  });
});
