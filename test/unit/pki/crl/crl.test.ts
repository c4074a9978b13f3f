import { afterAll, describe, expect, test } from 'vitest';
import { encodePem } from '#pki/certificate/pem.ts';
import { buildCrl, type CrlRequest, type RevokedCertificate } from '#pki/crl/build.ts';
import { isCrlOf, parseCrl } from '#pki/crl/parse.ts';
import { REVOCATION_REASONS } from '#pki/crl/reason.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { createTestPki, DAY, flipped, freshSpki, type TestPki } from '#test/support/test-pki.ts';

const openssl = new OpensslWorkspace();
afterAll(() => openssl[Symbol.dispose]());
const pki = await createTestPki();
const { now } = pki.setting;

function request(revoked: readonly RevokedCertificate[], from: TestPki = pki): CrlRequest {
  const { issuer, signer } = from.deviceCa;
  return { issuer, signer, number: 1, thisUpdate: now, nextUpdate: new Date(now.getTime() + DAY), revoked };
}

describe('a certificate revocation list', () => {
  test('given every reason, then parsing gives back what was revoked, when and why', async () => {
    const revoked = REVOCATION_REASONS.map((reason, index) => ({
      serialNumber: `${index}f`.padStart(32, '0').replace(/^00/, '4a'),
      revokedAt: new Date(now.getTime() - index * 1000),
      reason,
      ...(index % 2 === 0 ? { invalidityDate: new Date(now.getTime() - DAY) } : {}),
    }));
    const crl = parseCrl(await buildCrl({ ...request(revoked), number: 5_000_000_000 }));
    expect([...crl.revoked.values()]).toEqual(revoked);
    expect(crl.number).toBe(5_000_000_000);
    expect(crl.thisUpdate).toEqual(now);
    expect(crl.issuer).toEqual(pki.deviceCa.issuer.name);
    expect(isCrlOf(crl, pki.deviceCa.issuer)).toBe(true);
    expect(isCrlOf(crl, pki.operationsCa.issuer)).toBe(false);
  });

  test('given a certificate that is revoked, then openssl refuses it, and accepts one that is not', async () => {
    const spki = await freshSpki('EC-P256');
    const good = await pki.issueDevice(spki);
    const bad = await pki.issueDevice(spki);
    const revoked = [
      { serialNumber: parseCertificate(bad).serialNumber, revokedAt: now, reason: 'keyCompromise' },
    ] as const;
    openssl.write('ca.pem', encodePem('CERTIFICATE', pki.deviceCa.certificate));
    openssl.write('crl.pem', encodePem('X509 CRL', await buildCrl(request(revoked))));
    openssl.write('good.pem', encodePem('CERTIFICATE', good));
    openssl.write('bad.pem', encodePem('CERTIFICATE', bad));
    const verify = (file: string) =>
      openssl.run('verify -partial_chain -crl_check -CRLfile crl.pem -CAfile ca.pem', file);
    expect(verify('good.pem')).toMatchObject({ status: 0 });
    expect(verify('bad.pem').output).toContain('certificate revoked');
  });

  test.each(['EC-P256', 'EC-P384', 'RSA-2048'] as const)(
    'given an issuer with %s, then openssl verifies the list, empty or not',
    async (algorithm) => {
      const own = await createTestPki({ algorithm, now });
      openssl.write('ca.pem', encodePem('CERTIFICATE', own.deviceCa.certificate));
      for (const revoked of [[], [{ serialNumber: '4a', revokedAt: now, reason: 'superseded' }]] as const) {
        openssl.write('crl.pem', encodePem('X509 CRL', await buildCrl(request(revoked, own))));
        const text = openssl.succeed('crl -in crl.pem -CAfile ca.pem -verify -noout -text');
        expect(text).toContain('verify OK');
        expect(text).toContain(revoked.length === 0 ? 'No Revoked Certificates' : 'Superseded');
      }
    },
  );

  test('given ten thousand entries, then all are there', async () => {
    const revoked = Array.from({ length: 10_000 }, (_, index) => ({
      serialNumber: `40${index.toString(16).padStart(30, '0')}`,
      revokedAt: now,
      reason: 'unspecified' as const,
    }));
    const crl = parseCrl(await buildCrl(request(revoked)));
    expect(crl.revoked.size).toBe(10_000);
    expect(isCrlOf(crl, pki.deviceCa.issuer)).toBe(true);
  });

  test('given another signer, a faulty one, a window without length or an odd serial number, then there is no list', async () => {
    const base = request([]);
    await expectRefusal('input.invalid', () => buildCrl({ ...base, signer: pki.operationsCa.signer }));
    await expectRefusal('input.invalid', () => buildCrl({ ...base, nextUpdate: now }));
    for (const serialNumber of ['', 'ABCD', 'abc', '0x12', '00'.repeat(21)]) {
      await expectRefusal('input.invalid', () =>
        buildCrl(request([{ serialNumber, revokedAt: now, reason: 'unspecified' }])),
      );
    }
    const faulty = { ...base.signer, sign: (data: Uint8Array) => base.signer.sign(flipped(data, 0)) };
    await expectRefusal('certificate.invariant-broken', () => buildCrl({ ...base, signer: faulty }));
  });

  test('given a list that was altered, then it is not that of the issuer, or malformed', async () => {
    const der = await buildCrl(request([{ serialNumber: '4a4b4c4d', revokedAt: now, reason: 'unspecified' }]));
    const at = Buffer.from(der).indexOf(Buffer.from('4a4b4c4d', 'hex'));
    expect(isCrlOf(parseCrl(flipped(der, at + 3)), pki.deviceCa.issuer)).toBe(false);
    await expectRefusal('der.malformed', () => parseCrl(der.subarray(0, -1)));
    await expectRefusal('der.malformed', () => parseCrl(Buffer.concat([der, Buffer.from([0])])));
  });
});
