import 'reflect-metadata';
import {
  X509Certificate as IndependentCertificate,
  ExtendedKeyUsageExtension,
  KeyUsagesExtension,
} from '@peculiar/x509';
import { describe, expect, test } from 'vitest';
import { checkIssued } from '#pki/certificate/invariants.ts';
import { validityWithin } from '#pki/certificate/issue.ts';
import { lintTbs, signTbs } from '#pki/certificate/lint.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { certificateProfile, type CertificateKind } from '#pki/certificate/profile.ts';
import { publicKeyFingerprint } from '#pki/certificate/public-key.ts';
import { serialNumberFrom } from '#pki/certificate/serial-number.ts';
import { buildTbs, type TbsRequest } from '#pki/certificate/tbs.ts';
import { OID } from '#pki/der/oid.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, DAY, flipped, freshSpki } from '#test/support/test-pki.ts';

const pki = await createTestPki();
const other = await createTestPki({ realm: 'other' });
const spki = await freshSpki('EC-P256');
const uri = (value: string) => ({ subjectAltNames: [{ type: 'uri', value } as const] });

describe('a device certificate', () => {
  test.each(['EC-P256', 'EC-P384', 'RSA-2048', 'RSA-3072', 'Ed25519'] as const)(
    'given a key of %s, then it says who the device is and what its key may do',
    async (algorithm) => {
      const key = await freshSpki(algorithm);
      const parsed = parseCertificate(
        await pki.issueDevice(key, { crlUrl: 'http://gw/crl', ocspUrl: 'http://gw/ocsp' }),
      );
      const usages = {
        EC: ['digitalSignature', 'keyAgreement'],
        RS: ['digitalSignature', 'keyEncipherment'],
        Ed: ['digitalSignature'],
      };
      expect(parsed.subjectName.commonName).toBe('egm-0001');
      expect(parsed.subjectName.organizationalUnit).toBe('egm');
      expect(parsed.subjectAltNames.uris).toEqual(['spiffe://test/main-floor/egm/egm-0001']);
      expect(parsed.extendedKeyUsage).toEqual([OID.clientAuth]);
      expect([...(parsed.keyUsage ?? [])]).toEqual(usages[algorithm.slice(0, 2) as keyof typeof usages]);
      expect(parsed.basicConstraints).toBeUndefined();
      expect(parsed.issuer).toEqual(pki.deviceCa.issuer.name);
      expect(parsed.spkiSha256).toBe(publicKeyFingerprint(key));
      expect(parsed.serialNumber).toMatch(/^[4-7][0-9a-f]{31}$/);
    },
  );

  test('given an independent parser, then it reads the same', async () => {
    const der = await pki.issueDevice(spki);
    const ours = parseCertificate(der);
    const theirs = new IndependentCertificate(der);
    expect(theirs.serialNumber).toBe(ours.serialNumber);
    expect(theirs.notBefore).toEqual(ours.notBefore);
    expect(theirs.notAfter).toEqual(ours.notAfter);
    expect(theirs.subjectName.getField('CN')).toEqual(['egm-0001']);
    expect(theirs.getExtension(ExtendedKeyUsageExtension)?.usages).toEqual([OID.clientAuth]);
    expect(theirs.getExtension(KeyUsagesExtension)?.critical).toBe(true);
    expect(new Uint8Array(theirs.publicKey.rawData)).toEqual(new Uint8Array(spki));
    expect(
      await theirs.verify({
        publicKey: await new IndependentCertificate(pki.deviceCa.certificate).publicKey.export(),
        signatureOnly: true,
      }),
    ).toBe(true);
  });

  test('given equal requests, then the to-be-signed bytes are equal', () => {
    const request = pki.deviceRequest(spki);
    expect(buildTbs(request)).toEqual(buildTbs({ ...request }));
  });
});

describe('the lint before signing', () => {
  const refusals: readonly [string, Partial<TbsRequest>][] = [
    ['ends after its issuer', { notAfter: new Date(pki.deviceCa.issuer.notAfter.getTime() + 1000) }],
    ['begins before its issuer', { notBefore: new Date(pki.deviceCa.issuer.notBefore.getTime() - 1000) }],
    ['ends before it begins', { notAfter: new Date(pki.setting.now.getTime() - 1) }],
    ['exceeds the profile', { profile: certificateProfile('device', { maximumValidityDays: 364 }) }],
    ['is issued by the Operations CA', { issuer: pki.operationsCa.issuer }],
    ['is issued by the root', { issuer: pki.root.issuer }],
    ['is issued by itself', { issuer: 'self' }],
    ['belongs to another realm', { issuer: other.deviceCa.issuer }],
    ['names another device in its URI', uri('spiffe://test/main-floor/egm/egm-0002')],
    ['names another class in its URI', uri('spiffe://test/main-floor/pos/egm-0001')],
    ['has a URI of another form', uri('spiffe://test/egm-0001')],
    ['has a URI of another scheme', uri('https://test/main-floor/egm/egm-0001')],
    ['has a URI that climbs', uri('spiffe://test/../egm/egm-0001')],
    ['has no URI', { subjectAltNames: [] }],
    [
      'has a DNS name too',
      { subjectAltNames: [...(pki.deviceRequest(spki).subjectAltNames ?? []), { type: 'dns', value: 'gw' }] },
    ],
    ['certifies the key of its issuer', { spki: pki.deviceCa.issuer.spki }],
    ['holds a point off its curve', { spki: flipped(spki, spki.length - 1) }],
    ['is a message signer', { profile: certificateProfile('message-signer') }],
    ['is an authority', { profile: certificateProfile('operations-ca') }],
  ];

  test('given a sound request, then it passes', () => {
    const request = pki.deviceRequest(spki);
    expect(lintTbs(buildTbs(request), request)).toBeDefined();
  });

  test.each(refusals)('given a device certificate that %s, then it is not signed', async (_, changes) => {
    const request = pki.deviceRequest(spki, changes);
    await expectRefusal('certificate.lint-failed', () => lintTbs(buildTbs(request), request));
  });

  test('given bytes that differ from the request in any field, then they are not signed', async () => {
    const request = pki.deviceRequest(spki, { crlUrl: 'http://gw/crl' });
    const changes: readonly Partial<TbsRequest>[] = [
      { serialNumber: serialNumberFrom(Buffer.alloc(16, 7)) },
      { notBefore: new Date(request.notBefore.getTime() + 1000) },
      { notAfter: new Date(request.notAfter.getTime() - 1000) },
      { subject: { ...request.subject, organization: 'Another Casino' } },
      { spki: await freshSpki('EC-P256') },
      { issuer: other.deviceCa.issuer },
      { profile: { ...request.profile, extendedKeyUsage: [OID.clientAuth, OID.messageSigning] } },
      { profile: { ...request.profile, pathLength: 0 } },
      { profile: { ...request.profile, ocspNoCheck: true } },
      { ocspUrl: 'http://gw/ocsp' },
    ];
    for (const change of changes) {
      await expectRefusal('certificate.lint-failed', () => lintTbs(buildTbs({ ...request, ...change }), request));
    }
  });

  test('given bytes cut short anywhere, then they are not signed', async () => {
    const request = pki.deviceRequest(spki);
    const tbs = buildTbs(request);
    for (let length = 0; length < tbs.length; length += 7) {
      await expectRefusal('certificate.lint-failed', () => lintTbs(tbs.subarray(0, length), request));
    }
  });

  test('given a refusal, then every broken rule is named', async () => {
    const request = pki.deviceRequest(spki, { issuer: pki.operationsCa.issuer, subjectAltNames: [] });
    const refusal = await expectRefusal('certificate.lint-failed', () => lintTbs(buildTbs(request), request));
    expect(refusal.detail['problems']).toContain('a device is issued by the device-ca, not by the operations-ca');
    expect(refusal.detail['problems']).toContain('the extension 2.5.29.17 is missing');
  });

  test('given hosts for a TLS server, then names and addresses pass, and what is no host does not', async () => {
    const server = (hosts: NonNullable<TbsRequest['subjectAltNames']>): TbsRequest =>
      pki.deviceRequest(spki, {
        profile: certificateProfile('tls-server'),
        issuer: pki.operationsCa.issuer,
        subjectAltNames: hosts,
      });
    const lint = (request: TbsRequest) => lintTbs(buildTbs(request), request);
    expect(
      lint(
        server([
          { type: 'dns', value: 'gw.casino.example' },
          { type: 'ip', value: '127.0.0.1' },
          { type: 'ip', value: 'fd00::1' },
        ]),
      ),
    ).toBeDefined();
    await expectRefusal('certificate.lint-failed', () => lint(server([])));
    for (const value of ['*.example', '-gw', 'gw..example', '10.0.0.1', 'spiffe://x']) {
      await expectRefusal('certificate.lint-failed', () => lint(server([{ type: 'dns', value }])));
    }
    await expectRefusal('input.invalid', () => lint(server([{ type: 'ip', value: '10.0.0.256' }])));
  });

  test('given a token, then it is good for one signature by its own issuer', async () => {
    const request = pki.deviceRequest(spki);
    const tbs = buildTbs(request);
    const token = lintTbs(tbs, request);
    const certificate = await signTbs(token, pki.deviceCa.signer);
    checkIssued(certificate, { tbs, issuer: pki.deviceCa.issuer, spki });
    await expectRefusal('certificate.lint-failed', () => signTbs(token, pki.deviceCa.signer));
    await expectRefusal('certificate.lint-failed', () => signTbs(lintTbs(tbs, request), pki.operationsCa.signer));
  });

  test('given bytes that are changed after the lint, then what was linted is signed', async () => {
    const request = pki.deviceRequest(spki);
    const tbs = Buffer.from(buildTbs(request));
    const before = Buffer.from(tbs);
    const token = lintTbs(tbs, request);
    tbs.fill(0);
    expect(parseCertificate(await signTbs(token, pki.deviceCa.signer)).tbs).toEqual(before);
  });
});

describe('the invariants after signing', () => {
  test('given a signature by another key, other bytes or another public key, then nothing is released', async () => {
    const request = pki.deviceRequest(spki);
    const tbs = buildTbs(request);
    const expected = { tbs, issuer: pki.deviceCa.issuer, spki };
    const certificate = await signTbs(lintTbs(tbs, request), pki.deviceCa.signer);
    expect(() => checkIssued(certificate, expected)).not.toThrow();
    const wrong: readonly (() => void)[] = [
      () => checkIssued(certificate, { ...expected, issuer: other.deviceCa.issuer }),
      () => checkIssued(certificate, { ...expected, issuer: 'self' }),
      () => checkIssued(certificate, { ...expected, tbs: buildTbs(pki.deviceRequest(spki)) }),
      () => checkIssued(certificate, { ...expected, spki: pki.root.issuer.spki }),
      () => checkIssued(flipped(certificate, certificate.length - 1), expected),
      () => checkIssued(Buffer.concat([certificate, Buffer.from([0])]), expected),
      () => checkIssued(certificate.subarray(0, -1), expected),
    ];
    for (const check of wrong) await expectRefusal('certificate.invariant-broken', check);
  });

  test('given an HSM that signs something else, then the certificate is not released', async () => {
    const lying = { ...pki.deviceCa.signer, sign: (data: Uint8Array) => pki.deviceCa.signer.sign(flipped(data, 9)) };
    const request = pki.deviceRequest(spki);
    const tbs = buildTbs(request);
    const certificate = await signTbs(lintTbs(tbs, request), lying);
    await expectRefusal('certificate.invariant-broken', () =>
      checkIssued(certificate, { tbs, issuer: pki.deviceCa.issuer, spki }),
    );
  });
});

describe('profiles', () => {
  const kinds: readonly CertificateKind[] = [
    'device',
    'tls-server',
    'message-signer',
    'audit-signer',
    'ocsp-responder',
    'operator',
  ];

  test.each(kinds)('the purposes of %s are among those of its issuer', (kind) => {
    const profile = certificateProfile(kind);
    const allowed = certificateProfile(profile.issuedBy).extendedKeyUsage;
    expect(allowed).toEqual(expect.arrayContaining([...(profile.extendedKeyUsage ?? [])]));
  });

  test('nothing below the Device CA can be a message signer, for us or for stock openssl', () => {
    const { extendedKeyUsage } = certificateProfile('device-ca');
    expect(extendedKeyUsage).toEqual([OID.clientAuth]);
    expect(certificateProfile('message-signer').extendedKeyUsage).toEqual([OID.messageSigning, OID.emailProtection]);
    const others = kinds.filter((kind) => kind !== 'message-signer');
    for (const kind of others) expect(certificateProfile(kind).extendedKeyUsage).not.toContain(OID.emailProtection);
  });
});

describe('the validity of a certificate', () => {
  const issuer = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2026-12-31T00:00:00Z') };

  test('given room, then it begins earlier by the backdating and lasts its days', () => {
    const wanted = { now: new Date('2026-06-01T12:00:00.750Z'), days: 30, backdateSeconds: 3600 };
    const { notBefore, notAfter } = validityWithin(issuer, wanted);
    expect(notBefore).toEqual(new Date('2026-06-01T11:00:00Z'));
    expect(notAfter.getTime() - notBefore.getTime()).toBe(30 * DAY);
  });

  test('given no room, then it stays within its issuer', () => {
    expect(validityWithin(issuer, { now: issuer.notBefore, days: 400, backdateSeconds: 60 })).toEqual(issuer);
  });
});
