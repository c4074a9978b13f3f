import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { buildCrl } from '#pki/crl/build.ts';
import { exportPrivateKeyPem, generateSoftwareKey, softwareSigner, type SoftwareKey } from '#pki/keys/software-key.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { createTestPki, DAY, type TestPki } from '#test/support/test-pki.ts';

/** Stock openssl judges the whole hierarchy, with an EC and with an RSA realm. */
const openssl = new OpensslWorkspace();
afterAll(() => openssl[Symbol.dispose]());

describe.each(['EC-P256', 'EC-P384', 'RSA-2048'] as const)(
  'given a realm whose authorities have keys of %s',
  (algorithm) => {
    let pki: TestPki;
    let ecDevice: SoftwareKey;
    let rsaDevice: SoftwareKey;
    let signer: SoftwareKey;

    const writeCertificate = (name: string, der: Uint8Array): void => {
      openssl.write(name, encodePem('CERTIFICATE', der));
    };

    beforeAll(async () => {
      pki = await createTestPki({ algorithm });
      ecDevice = await generateSoftwareKey('EC-P256');
      rsaDevice = await generateSoftwareKey('RSA-2048');
      signer = await generateSoftwareKey('EC-P256');
      const urls = {
        crlUrl: 'http://gateway.example:8080/crl/device-ca-1.crl',
        ocspUrl: 'http://gateway.example:8080/ocsp',
      };
      writeCertificate('root.pem', pki.root.certificate);
      openssl.write(
        'intermediates.pem',
        encodePemAll('CERTIFICATE', [pki.deviceCa.certificate, pki.operationsCa.certificate]),
      );
      writeCertificate('ec.pem', await pki.issueDevice(ecDevice.signer.spki, urls));
      writeCertificate('rsa.pem', await pki.issueDevice(rsaDevice.signer.spki, urls));
      openssl.write('ec.key', exportPrivateKeyPem(ecDevice.privateKey));
      openssl.write('rsa.key', exportPrivateKeyPem(rsaDevice.privateKey));
      openssl.write('signer.key', exportPrivateKeyPem(signer.privateKey));
      const { spki } = softwareSigner(signer.privateKey);
      const issue = async (name: string, wanted: Parameters<TestPki['issueOperational']>[0]): Promise<void> =>
        writeCertificate(name, (await pki.issueOperational(wanted)).certificate);
      await issue('signer.pem', { kind: 'message-signer', commonName: 'Message signer 1', spki });
      await issue('audit.pem', { kind: 'audit-signer', commonName: 'Audit signer 1', spki });
      await issue('ocsp.pem', { kind: 'ocsp-responder', commonName: 'OCSP responder 1', spki });
      await issue('operator.pem', { kind: 'operator', commonName: 'ada', spki });
      await issue('tls.pem', {
        kind: 'tls-server',
        commonName: 'gateway',
        spki,
        hosts: [
          { type: 'dns', value: 'gateway.example' },
          { type: 'ip', value: '127.0.0.1' },
          { type: 'ip', value: 'fd00::1' },
        ],
      });
    }, 120_000);

    const verify = (purpose: string, file: string, ...more: readonly string[]) =>
      openssl.run(
        'verify',
        '-x509_strict',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'intermediates.pem',
        '-purpose',
        purpose,
        ...more,
        file,
      );

    test.each([
      ['sslclient', 'ec.pem'],
      ['sslclient', 'rsa.pem'],
      ['sslclient', 'operator.pem'],
      ['sslserver', 'tls.pem'],
      ['smimesign', 'signer.pem'],
      ['ocsphelper', 'ocsp.pem'],
      ['any', 'audit.pem'],
    ])('then openssl verify -x509_strict accepts for %s the chain of %s', (purpose, file) => {
      expect(verify(purpose, file).output).toContain(`${file}: OK`);
    });

    test.each([
      ['smimesign', 'ec.pem'],
      ['smimesign', 'rsa.pem'],
      ['smimesign', 'audit.pem'],
      ['smimesign', 'tls.pem'],
      ['smimesign', 'operator.pem'],
      ['sslserver', 'ec.pem'],
      ['sslserver', 'signer.pem'],
      ['sslclient', 'signer.pem'],
      ['sslclient', 'tls.pem'],
    ])('then openssl verify refuses for %s the chain of %s', (purpose, file) => {
      expect(verify(purpose, file).output).toMatch(/unsuitable certificate purpose|unsupported certificate purpose/);
    });

    test('then host names and addresses are those asked for', () => {
      expect(verify('sslserver', 'tls.pem', '-verify_hostname', 'gateway.example').status).toBe(0);
      expect(verify('sslserver', 'tls.pem', '-verify_ip', 'fd00::1').status).toBe(0);
      expect(verify('sslserver', 'tls.pem', '-verify_hostname', 'other.example').status).not.toBe(0);
    });

    test('then openssl x509 -text shows what the profile says', () => {
      const text = openssl.succeed('x509 -in ec.pem -noout -text -nameopt utf8,sep_comma_plus');
      expect(text).toContain('Subject: O=Casino Nürnberg,OU=egm,CN=egm-0001');
      expect(text).toContain('Issuer: O=Casino Nürnberg,OU=test,CN=Croupier Device CA 1');
      expect(text).toMatch(/Key Usage: critical\s+Digital Signature, Key Agreement\n/);
      expect(text).toMatch(/Extended Key Usage: \n?\s*TLS Web Client Authentication\n/);
      expect(text).toContain('URI:spiffe://test/main-floor/egm/egm-0001');
      expect(text).toContain('URI:http://gateway.example:8080/crl/device-ca-1.crl');
      expect(text).toContain('OCSP - URI:http://gateway.example:8080/ocsp');
      expect(openssl.succeed('x509 -in rsa.pem -noout -text')).toMatch(
        /critical\s+Digital Signature, Key Encipherment\n/,
      );
      expect(openssl.succeed('x509 -in ocsp.pem -noout -text')).toContain('OCSP No Check');
    });

    test('then stock openssl cms -verify accepts the message signer, and never a device', () => {
      openssl.write('message.json', '{"v":1}');
      const outcome = (name: string) => {
        const identity = `-signer ${name}.pem -inkey ${name}.key -certfile intermediates.pem`;
        openssl.succeed(`cms -sign -binary -nodetach -in message.json ${identity} -outform DER -out ${name}.cms`);
        return openssl.run(`cms -verify -inform DER -in ${name}.cms -CAfile root.pem`);
      };
      expect(outcome('signer')).toMatchObject({ status: 0 });
      expect(outcome('signer').output).toContain('{"v":1}');
      for (const device of ['ec', 'rsa']) {
        const { status, output } = outcome(device);
        expect(status).not.toBe(0);
        expect(output).toMatch(/unsuitable certificate purpose|unsupported certificate purpose/);
      }
    });

    test('then openssl checks the chain against our revocation list', async () => {
      const { issuer, signer: caSigner } = pki.deviceCa;
      const { now } = pki.setting;
      const serialNumber =
        pki.intents.find(({ tbs }) => Buffer.from(tbs).includes(ecDevice.signer.spki))?.serialNumber ?? '';
      const revoked = [{ serialNumber, revokedAt: now, reason: 'cessationOfOperation' }] as const;
      const crl = await buildCrl({
        issuer,
        signer: caSigner,
        number: 7,
        thisUpdate: now,
        nextUpdate: new Date(now.getTime() + DAY),
        revoked,
      });
      openssl.write('crl.pem', encodePem('X509 CRL', crl));
      expect(verify('sslclient', 'rsa.pem', '-crl_check', '-CRLfile', 'crl.pem').status).toBe(0);
      expect(verify('sslclient', 'ec.pem', '-crl_check', '-CRLfile', 'crl.pem').output).toContain(
        'certificate revoked',
      );
    });
  },
);
