import { describe, expect, test } from 'vitest';
import { assert as assertProperty, nat, property } from 'fast-check';
import { deviceUri, parseDeviceUri } from '#pki/certificate/device-uri.ts';
import { encodeIpAddress, readKeyUsage, readSubjectAltNames } from '#pki/certificate/extensions.ts';
import { readIssuer } from '#pki/certificate/issuer.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import { isSerialNumber, serialNumberFrom } from '#pki/certificate/serial-number.ts';
import { bitString, sequence } from '#pki/der/writer.ts';
import { CroupierError } from '#schema/errors.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, freshSpki } from '#test/support/test-pki.ts';

const pki = await createTestPki();
const certificate = await pki.issueDevice(await freshSpki('EC-P256'));

describe('parsing a certificate', () => {
  test('given a certificate, then it is read; given it with a byte more or less, it is malformed', async () => {
    expect(parseCertificate(certificate).tbs).toEqual(pki.intents.at(-1)?.tbs);
    await expectRefusal('certificate.malformed', () =>
      parseCertificate(Buffer.concat([certificate, Buffer.from([0])])),
    );
    for (let length = 0; length < certificate.length; length += 5) {
      await expectRefusal('certificate.malformed', () => parseCertificate(certificate.subarray(0, length)));
    }
  });

  test('given any damage, then it is read or refused by a code of ours, never by another fault', () => {
    assertProperty(
      property(nat(certificate.length - 1), nat(255), (index, octet) => {
        const damaged = Buffer.from(certificate);
        damaged[index] = octet;
        try {
          parseCertificate(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(CroupierError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('given two different signature algorithms, then it is malformed', async () => {
    const { tbs, signature } = parseCertificate(certificate);
    const foreign = parseCertificate(
      (await createTestPki({ algorithm: 'EC-P384' })).root.certificate,
    ).signatureAlgorithm;
    await expectRefusal('certificate.malformed', () => parseCertificate(sequence(tbs, foreign, bitString(signature))));
  });

  test('given more than 32 KiB, then it is refused unread', async () => {
    await expectRefusal('input.too-large', () => parseCertificate(Buffer.alloc(32 * 1024 + 1)));
  });

  test('the fingerprint is the SHA-256 of the DER', () => {
    expect(certificateFingerprint(Buffer.from('abc'))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });
});

describe('reading an issuer', () => {
  test('given the three authorities, then each is known by its purposes', () => {
    expect(readIssuer(pki.root.certificate).kind).toBe('root');
    expect(readIssuer(pki.deviceCa.certificate).kind).toBe('device-ca');
    expect(readIssuer(pki.operationsCa.certificate).kind).toBe('operations-ca');
  });

  test('given a device certificate, then it is no issuer', async () => {
    await expectRefusal('certificate.purpose-refused', () => readIssuer(certificate));
  });
});

describe('names and numbers', () => {
  test('given a SPIFFE ID of a device, then building and parsing agree', async () => {
    const identity = { realm: 'prod', site: 'las-vegas', class: 'egm', id: 'EGM_1.a' };
    expect(parseDeviceUri(deviceUri(identity))).toEqual(identity);
    for (const id of ['', '..', 'a/b', 'a b', 'ä', 'x'.repeat(65)]) {
      await expectRefusal('input.invalid', () => deviceUri({ ...identity, id }));
    }
    await expectRefusal('input.invalid', () => deviceUri({ ...identity, realm: 'Prod' }));
  });

  test.each([
    ['127.0.0.1', '7f000001'],
    ['::1', '00000000000000000000000000000001'],
    ['fd00:0:0:1::', 'fd000000000000010000000000000000'],
    ['::ffff:10.1.2.3', '00000000000000000000ffff0a010203'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
  ])('the address %s has the octets %s', (address, octets) => {
    expect(Buffer.from(encodeIpAddress(address)).toString('hex')).toBe(octets);
  });

  test('given any 16 random octets, then the serial number is positive and of 16 octets', async () => {
    for (const fill of [0x00, 0x7f, 0x80, 0xff]) {
      const serial = serialNumberFrom(Buffer.alloc(16, fill));
      expect(isSerialNumber(serial)).toBe(true);
      expect(serial[0]).toBeGreaterThanOrEqual(0x40);
      expect(serial[0]).toBeLessThan(0x80);
    }
    await expectRefusal('input.invalid', () => serialNumberFrom(Buffer.alloc(15)));
  });

  test('given too many alternative names or a wrong key usage, then they are malformed', async () => {
    const name = Buffer.from([0x82, 1, 0x61]);
    expect(readSubjectAltNames(sequence(...Array.from({ length: 64 }, () => name))).count).toBe(64);
    await expectRefusal('der.malformed', () =>
      readSubjectAltNames(sequence(...Array.from({ length: 65 }, () => name))),
    );
    expect([...readKeyUsage(Buffer.from('030307 0080'.replace(' ', ''), 'hex'))]).toEqual(['decipherOnly']);
    await expectRefusal('der.malformed', () => readKeyUsage(Buffer.from('030100', 'hex')));
  });
});
