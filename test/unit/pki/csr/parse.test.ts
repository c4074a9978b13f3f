import 'reflect-metadata';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import { assert as assertProperty, integer as integerBetween, nat, property } from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseCsr } from '#pki/csr/parse.ts';
import { createCsr } from '#pki/csr/create.ts';
import { verifyProofOfPossession } from '#pki/csr/check.ts';
import { decodePem, encodePem } from '#pki/certificate/pem.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import {
  contextConstructed,
  integer,
  oid,
  octetString,
  bitString,
  printableString,
  sequence,
  setOf,
} from '#pki/der/writer.ts';
import { signatureAlgorithm } from '#pki/certificate/signature-algorithm.ts';
import { encodeName } from '#pki/certificate/name.ts';
import { OID } from '#pki/der/oid.ts';
import { CroupierError } from '#schema/errors.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { flipped } from '#test/support/test-pki.ts';

const { signer } = await generateSoftwareKey('EC-P256');
const openssl = new OpensslWorkspace();
afterAll(() => openssl[Symbol.dispose]());

const withAttributes = async (...attributes: readonly Uint8Array[]): Promise<Uint8Array> => {
  const info = sequence(integer(0), encodeName({ commonName: 'x' }), signer.spki, contextConstructed(0, ...attributes));
  return sequence(info, signatureAlgorithm('EC-P256'), bitString(await signer.sign(info)));
};

describe('a certificate signing request of ours', () => {
  test.each(['EC-P256', 'EC-P384', 'RSA-2048', 'Ed25519'] as const)(
    'given a key of %s, then openssl and we verify it',
    async (algorithm) => {
      const key = await generateSoftwareKey(algorithm);
      const der = await createCsr({
        subject: { commonName: 'egm-0001', organizationalUnit: 'egm' },
        signer: key.signer,
        challengePassword: 'c29tZSBiaW5kaW5nIQ==',
        subjectAltNames: [{ type: 'uri', value: 'spiffe://test/a/egm/egm-0001' }],
      });
      const csr = parseCsr(der);
      expect(() => verifyProofOfPossession(csr)).not.toThrow();
      expect(csr.subjectName.commonName).toBe('egm-0001');
      expect(csr.challengePassword).toBe('c29tZSBiaW5kaW5nIQ==');
      expect(csr.subjectAltNames.uris).toEqual(['spiffe://test/a/egm/egm-0001']);
      expect(csr.spki).toEqual(key.signer.spki);
      openssl.write('ours.pem', encodePem('CERTIFICATE REQUEST', der));
      const text = openssl.succeed('req -in ours.pem -verify -noout -text');
      expect(text).toContain('verify OK');
      expect(text).toContain('URI:spiffe://test/a/egm/egm-0001');
    },
  );

  test('given an independent parser, then it reads and verifies the request', async () => {
    const der = await createCsr({ subject: { commonName: 'egm-0001' }, signer });
    const theirs = new Pkcs10CertificateRequest(der);
    expect(theirs.subjectName.getField('CN')).toEqual(['egm-0001']);
    expect(await theirs.verify()).toBe(true);
  });

  test('given text that PrintableString cannot hold, then it survives as UTF8String', async () => {
    const csr = parseCsr(await createCsr({ subject: { commonName: 'x' }, signer, challengePassword: 'grün_*' }));
    expect(csr.challengePassword).toBe('grün_*');
    await expectRefusal('input.invalid', () =>
      createCsr({ subject: { commonName: 'x' }, signer, challengePassword: '' }),
    );
  });
});

describe('a request of somebody else', () => {
  test('given openssl with attributes and extensions, then it is read', () => {
    const names = '-subj /C=AT/O=Maker/CN=egm-7/serialNumber=SN7 -addext subjectAltName=DNS:egm-7,IP:10.0.0.7';
    openssl.succeed(`req -new -newkey rsa:2048 -nodes -keyout k.pem ${names} -out r.pem`);
    const pem = openssl.succeed('req -in r.pem');
    const csr = parseCsr(decodePem('CERTIFICATE REQUEST', pem));
    expect(() => verifyProofOfPossession(csr)).not.toThrow();
    expect(csr.subjectName).toMatchObject({ commonName: 'egm-7', serialNumber: 'SN7' });
    expect(csr.subjectAltNames).toMatchObject({ dnsNames: ['egm-7'], ipAddresses: ['10.0.0.7'], count: 2 });
    expect(csr.challengePassword).toBeUndefined();
  });

  test('given no subject, no attributes at all, or attributes that we do not know, then it is read', async () => {
    const bare = sequence(integer(0), sequence(), signer.spki);
    const der = sequence(bare, signatureAlgorithm('EC-P256'), bitString(await signer.sign(bare)));
    expect(parseCsr(der).subjectName.commonName).toBeUndefined();
    const unknown = sequence(oid('1.2.3.4'), setOf(integer(1), integer(2)));
    expect(parseCsr(await withAttributes(unknown)).challengePassword).toBeUndefined();
  });

  test('given an attribute twice, with two values or of a wrong type, then it is malformed', async () => {
    const challenge = (...values: readonly Uint8Array[]) => sequence(oid(OID.challengePassword), setOf(...values));
    const good = challenge(printableString('a'));
    expect(parseCsr(await withAttributes(good)).challengePassword).toBe('a');
    const bad = [
      await withAttributes(good, good),
      await withAttributes(challenge(printableString('a'), printableString('b'))),
      await withAttributes(challenge()),
      await withAttributes(challenge(octetString(Buffer.from('a')))),
      await withAttributes(challenge(printableString('a'.repeat(256)))),
    ];
    for (const der of bad) await expectRefusal('csr.malformed', () => parseCsr(der));
  });

  test('given it cut short, with a byte more, or too large, then it is refused', async () => {
    const der = await createCsr({ subject: { commonName: 'x' }, signer });
    for (let length = 0; length < der.length; length += 3) {
      await expectRefusal('csr.malformed', () => parseCsr(der.subarray(0, length)));
    }
    await expectRefusal('csr.malformed', () => parseCsr(Buffer.concat([der, Buffer.from([0])])));
    await expectRefusal('input.too-large', () => parseCsr(Buffer.alloc(1024 * 1024)));
  });

  test('given any damage, then it is refused by a code of ours, never accepted', async () => {
    const der = await createCsr({ subject: { commonName: 'egm-1' }, signer, challengePassword: 'abc' });
    assertProperty(
      property(nat(der.length - 1), integerBetween({ min: 1, max: 255 }), (index, mask) => {
        const damaged = Buffer.from(der);
        damaged[index] = (damaged[index] ?? 0) ^ mask;
        let refused: unknown;
        try {
          verifyProofOfPossession(parseCsr(damaged));
        } catch (error) {
          refused = error;
        }
        expect(refused).toBeInstanceOf(CroupierError);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('proof of possession', () => {
  test('given a request with another public key put in, then it is refused', async () => {
    const der = await createCsr({ subject: { commonName: 'x' }, signer });
    const other = (await generateSoftwareKey('EC-P256')).signer.spki;
    const at = Buffer.from(der).indexOf(signer.spki);
    const swapped = Buffer.concat([der.subarray(0, at), other, der.subarray(at + other.length)]);
    await expectRefusal('csr.signature-invalid', () => verifyProofOfPossession(parseCsr(swapped)));
    await expectRefusal('csr.signature-invalid', () => verifyProofOfPossession(parseCsr(flipped(der, der.length - 1))));
  });

  test.each(['sha256', 'sha384', 'sha512'])(
    'given RSA with %s, then it is accepted; with SHA-1, it is refused',
    async (digest) => {
      const request = (hash: string): Uint8Array => {
        openssl.succeed(`req -new -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=x -${hash} -out r.pem`);
        return decodePem('CERTIFICATE REQUEST', openssl.succeed('req -in r.pem'));
      };
      expect(() => verifyProofOfPossession(parseCsr(request(digest)))).not.toThrow();
      const refusal = await expectRefusal('csr.signature-invalid', () =>
        verifyProofOfPossession(parseCsr(request('sha1'))),
      );
      expect(refusal.message).toContain('SHA-256 or stronger');
    },
  );
});
