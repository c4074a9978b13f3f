import { afterAll, describe, expect, test } from 'vitest';
import { validateManufacturerChain } from '#pki/certificate/idevid.ts';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { decodePem } from '#pki/certificate/pem.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { DAY } from '#test/support/test-pki.ts';

/** A manufacturer as its factory would have it: root, issuing CA, devices that never expire. Made by openssl. */
const openssl = new OpensslWorkspace();
afterAll(() => openssl[Symbol.dispose]());

const AUTHORITY = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n';
const IDEVID = 'keyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n';
const HARDWARE =
  'subjectAltName=otherName:1.3.6.1.5.5.7.8.4;SEQUENCE:hw\n[hw]\ntype=OID:1.3.6.1.4.1.99999.1\nserial=FORMAT:HEX,OCTETSTRING:0a0b0c\n';

function make(name: string, subject: string, extensions: string, by?: string, validity = '-days 3650'): Uint8Array {
  openssl.write(`${name}.ext`, extensions);
  const key = `-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${name}.key`;
  openssl.succeed(`req -new ${key} -out ${name}.csr -subj`, subject);
  const issuer = by === undefined ? `-signkey ${name}.key` : `-CA ${by}.pem -CAkey ${by}.key`;
  const content = `-in ${name}.csr -set_serial 0x51 -extfile ${name}.ext ${validity}`;
  openssl.succeed(`x509 -req ${content} ${issuer} -out ${name}.pem`);
  return decodePem('CERTIFICATE', openssl.succeed(`x509 -in ${name}.pem`));
}

const root = make('root', '/O=Maker/CN=Maker Root', AUTHORITY);
const issuing = make('issuing', '/O=Maker/CN=Maker Devices', AUTHORITY, 'root');
const stranger = make('stranger', '/O=Maker/CN=Maker Root', AUTHORITY);
const device = make('device', '/O=Maker/CN=Slot 9000/serialNumber=SN-0042', `${IDEVID}${HARDWARE}`, 'issuing');
const nameless = make('nameless', '/O=Maker', IDEVID, 'issuing');
const short = make('short', '/serialNumber=SN-0043', IDEVID, 'issuing', '-days 1');
const now = new Date();

describe('a manufacturer certificate', () => {
  test('given a chain to a trusted manufacturer, then it says which machine it is', () => {
    const identity = validateManufacturerChain(device, [issuing], [root], now);
    expect(identity).toMatchObject({
      serialNumber: 'SN-0042',
      commonName: 'Slot 9000',
      organization: 'Maker',
      hardwareSerial: '0a0b0c',
      anchorFingerprint: certificateFingerprint(root),
    });
    expect(identity.publicKey.asymmetricKeyType).toBe('ec');
  });

  test('given another manufacturer of the same name, no anchors or a missing intermediate, then it is not trusted', async () => {
    await expectRefusal('certificate.untrusted', () => validateManufacturerChain(device, [issuing], [stranger], now));
    await expectRefusal('certificate.untrusted', () => validateManufacturerChain(device, [issuing], [], now));
    await expectRefusal('certificate.untrusted', () => validateManufacturerChain(device, [], [root], now));
    await expectRefusal('certificate.untrusted', () =>
      validateManufacturerChain(
        device,
        Array.from({ length: 9 }, () => issuing),
        [root],
        now,
      ),
    );
  });

  test('given a certificate that has expired, then it is refused as expired', async () => {
    expect(validateManufacturerChain(short, [issuing], [root], now).serialNumber).toBe('SN-0043');
    const later = new Date(now.getTime() + 2 * DAY);
    await expectRefusal('certificate.expired', () => validateManufacturerChain(short, [issuing], [root], later));
    await expectRefusal('certificate.not-yet-valid', () =>
      validateManufacturerChain(short, [issuing], [root], new Date(0)),
    );
  });

  test('given an authority or a certificate that names no machine, then it is refused for this purpose', async () => {
    await expectRefusal('certificate.purpose-refused', () => validateManufacturerChain(issuing, [], [root], now));
    await expectRefusal('certificate.purpose-refused', () =>
      validateManufacturerChain(nameless, [issuing], [root], now),
    );
  });

  test('given bytes that are no certificate, then they are malformed', async () => {
    await expectRefusal('certificate.malformed', () => validateManufacturerChain(Buffer.from('x'), [], [root], now));
  });
});
