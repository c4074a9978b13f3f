/** A CA certificate from elsewhere: the one that was asked for is taken, and no other. */
import { describe, expect, test } from 'vitest';
import { checkIntermediate, checkRoot } from '#pki/ceremony/check.ts';
import {
  intermediateCeremony,
  requestedIntermediate,
  requestIntermediate,
  type IntermediateName,
} from '#pki/ceremony/intermediate.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import { createCsr } from '#pki/csr/create.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, flipped, freshSpki } from '#test/support/test-pki.ts';

const pki = await createTestPki();
const other = await createTestPki({ realm: 'other' });
const { setting } = pki;
const { now } = setting;
const DAY = 86_400_000;

const name: IntermediateName = { kind: 'device-ca', generation: 2, realm: 'test', operator: setting.operator };
const csr = await requestIntermediate({ ...name, hsm: pki.hsm, algorithm: 'EC-P256' });
const { spki } = await pki.hsm.signer('device-ca-2');
const rootKey = { rootCertificate: pki.root.certificate, rootSigner: pki.root.signer };
const { certificate } = await intermediateCeremony({ ...setting, ...name, ...rootKey, csr, years: 5 });
const expected = { ...name, spki, roots: [pki.root.certificate], now };

describe('the certificate of an intermediate', () => {
  test('given the one that the root signed for the request, then it is taken, among several roots, too', () => {
    checkIntermediate(certificate, expected);
    checkIntermediate(certificate, { ...expected, roots: [other.root.certificate, pki.root.certificate] });
  });

  test.each([
    ['another key', async () => ({ ...expected, spki: await freshSpki('EC-P256') })],
    ['another number', async () => ({ ...expected, generation: 3 })],
    ['another operator', async () => ({ ...expected, operator: 'Another' })],
    ['another realm', async () => ({ ...expected, realm: 'other' })],
    ['no root that is trusted', async () => ({ ...expected, roots: [other.root.certificate] })],
    ['no root at all', async () => ({ ...expected, roots: [] })],
    ['a day before it is valid', async () => ({ ...expected, now: new Date(now.getTime() - DAY) })],
    ['its end', async () => ({ ...expected, now: new Date(now.getTime() + 6 * 365 * DAY) })],
  ])('given it is for %s, then it is refused', async (_, wanted) => {
    const given = await wanted();
    await expectRefusal('authority.certificate-mismatch', async () => checkIntermediate(certificate, given));
  });

  test('given that of another kind of CA, of a root or of a device, then it is refused', async () => {
    const device = await pki.issueDevice(spki);
    for (const wrong of [pki.operationsCa.certificate, pki.root.certificate, device]) {
      await expectRefusal('authority.certificate-mismatch', async () => checkIntermediate(wrong, expected));
    }
  });

  test('given a signature that is not the root’s, then it is refused', async () => {
    const forged = flipped(certificate, certificate.length - 4);
    await expectRefusal('authority.certificate-mismatch', async () => checkIntermediate(forged, expected));
  });
});

describe('the certificate of a root', () => {
  test('given another root of the realm, then it is taken, and its name tells it from the first', async () => {
    const keyStore = createMemoryKeyStore();
    const second = await rootCeremony({ ...setting, keyStore, algorithm: 'EC-P384', generation: 2, years: 20 });
    checkRoot(second.certificate, { realm: 'test', now });
    expect(second.record.commonName).toBe('Croupier Root CA 2');
  });

  test('given one of another realm, out of its time, altered, or that of no root, then it is refused', async () => {
    const fine = pki.root.certificate;
    for (const [wrong, at] of [
      [other.root.certificate, now],
      [fine, new Date(now.getTime() - DAY)],
      [flipped(fine, fine.length - 4), now],
      [pki.deviceCa.certificate, now],
    ] as const) {
      await expectRefusal('authority.certificate-mismatch', async () => checkRoot(wrong, { realm: 'test', now: at }));
    }
    checkRoot(fine, { realm: 'test', now });
  });
});

describe('a request', () => {
  test('given that of an intermediate, then it says which one; any other request does not', async () => {
    expect(requestedIntermediate(csr)).toEqual(name);
    const { signer } = await generateSoftwareKey('EC-P256');
    for (const commonName of ['egm-1', 'Croupier Device CA', 'Croupier Device CA 0', 'Croupier Root CA 2']) {
      const subject = { commonName, organizationalUnit: 'test', organization: 'Casino' };
      const wrong = await createCsr({ subject, signer });
      await expectRefusal('csr.subject-mismatch', async () => requestedIntermediate(wrong));
    }
  });
});
