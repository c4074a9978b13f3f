/** strongSwan's `pki --estca` and `pki --est`, unmodified, as Debian ships them. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem } from '#pki/certificate/pem.ts';
import { newDevice, startEstGateway, type EstGateway, type TestDevice } from '#test/support/est-gateway.ts';

const run = promisify(execFile);
const INSTALL =
  'strongSwan is needed: apt-get install strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins';

/** The openssl plugin knows elliptic curves, the curl plugin does HTTP. */
const isInstalled = (): boolean =>
  [
    '/usr/bin/pki',
    '/usr/lib/ipsec/plugins/libstrongswan-openssl.so',
    '/usr/lib/ipsec/plugins/libstrongswan-curl.so',
  ].every((file) => existsSync(file));

describe('strongSwan', () => {
  let gateway: EstGateway;
  let trust: readonly string[];
  const at = (name: string): string => join(gateway.directory, name);

  beforeAll(async () => {
    if (!isInstalled()) throw new Error(INSTALL);
    gateway = await startEstGateway();
    const { root, deviceCa, operationsCa } = gateway.pki;
    const authorities = { root, 'device-ca': deviceCa, 'operations-ca': operationsCa };
    for (const [name, { certificate }] of Object.entries(authorities))
      await writeFile(at(`${name}.pem`), encodePem('CERTIFICATE', certificate));
    trust = Object.keys(authorities).flatMap((name) => ['--cacert', at(`${name}.pem`)]);
  });
  afterAll(() => gateway?.stop());

  const device = async (id: string): Promise<TestDevice> => {
    const made = await newDevice(id);
    await writeFile(at(`${id}.csr`), made.csr);
    await writeFile(at(`${id}.key`), made.key.privateKey.export({ format: 'der', type: 'sec1' }), { mode: 0o600 });
    return made;
  };

  /** The certificate that `pki --est` writes to its output, and what it says on the way. */
  const est = async (id: string, ...args: readonly string[]): Promise<{ der: Buffer; said: string }> => {
    const options = { encoding: 'buffer', timeout: 20_000 } as const;
    const { stdout, stderr } = await run(
      'pki',
      ['--est', '--url', gateway.url, '--in', at(`${id}.csr`), ...trust, ...args],
      options,
    );
    return { der: stdout, said: stderr.toString() };
  };

  test('given the root, when it fetches the CA certificates, then it trusts and stores all three', async () => {
    const { stderr } = await run(
      'pki',
      ['--estca', '--url', gateway.url, '--cacert', at('root.pem'), '--caout', at('ca')],
      { timeout: 20_000 },
    );
    expect(stderr).toContain('Root CA equals trusted TLS Root CA');
    const stored = await Promise.all(
      readdirSync(gateway.directory)
        .filter((name) => /^ca(-\d)?\.der$/.test(name))
        .map((name) => readFile(at(name))),
    );
    const { root, deviceCa, operationsCa } = gateway.pki;
    const expected = [root, deviceCa, operationsCa].map(({ certificate }) => Buffer.from(certificate).toString('hex'));
    expect(stored.map((der) => der.toString('hex')).sort()).toEqual(expected.sort());
  });

  test('given a ticket, when it enrols, then renews with that certificate, then both certificates are for its key and trusted', async () => {
    await gateway.register('egm-1');
    const { key } = await device('egm-1');
    const enrolled = await est('egm-1', '--userpass', `egm-1:${await gateway.ticket('egm-1')}`);
    expect(enrolled.said).toContain('Issued certificate is trusted');
    expect(new X509Certificate(enrolled.der).checkPrivateKey(key.privateKey)).toBe(true);
    await writeFile(at('egm-1.crt'), enrolled.der);
    const renewed = await est('egm-1', '--cert', at('egm-1.crt'), '--key', at('egm-1.key'));
    expect(renewed.said).toContain('Issued certificate is trusted');
    expect(new X509Certificate(renewed.der).serialNumber).not.toBe(new X509Certificate(enrolled.der).serialNumber);
  });

  test('given a wrong code, when it enrols, then it is told 401; with the right one it enrols', async () => {
    await gateway.register('egm-2');
    await device('egm-2');
    const code = await gateway.ticket('egm-2');
    await expect(est('egm-2', '--userpass', 'egm-2:00000-00000-00000-00000')).rejects.toThrow('HTTP 401');
    expect((await est('egm-2', '--userpass', `egm-2:${code}`)).said).toContain('Issued certificate is trusted');
  });

  test('given no ticket, when it polls and an engineer approves meanwhile, then it gets its certificate', async () => {
    await gateway.register('egm-3');
    const { key } = await device('egm-3');
    const polling = est('egm-3', '--interval', '1', '--maxpolltime', '15');
    const request = await gateway.pendingRequest();
    await gateway.approve(request);
    const { der, said } = await polling;
    expect(said).toContain('EST request pending, polling every 2 seconds');
    expect(new X509Certificate(der).checkPrivateKey(key.privateKey)).toBe(true);
  });
});
