/** Bouncy Castle's EST client (bcpkix 1.72 of Debian) through `bouncycastle/EstClient.java`. */
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OID } from '#pki/der/oid.ts';
import { newDevice, startEstGateway, type EstGateway, type TestDevice } from '#test/support/est-gateway.ts';

const run = promisify(execFile);
const JARS = ['bcpkix', 'bcprov', 'bcutil'].map((name) => `/usr/share/java/${name}.jar`);
const SOURCE = fileURLToPath(new URL('bouncycastle/EstClient.java', import.meta.url));
const INSTALL = 'Bouncy Castle and a JDK are needed: apt-get install default-jdk-headless libbcpkix-java';

describe('Bouncy Castle', () => {
  let gateway: EstGateway;
  const at = (name: string): string => join(gateway.directory, name);

  beforeAll(async () => {
    if (![...JARS, '/usr/bin/javac'].every((file) => existsSync(file))) throw new Error(INSTALL);
    gateway = await startEstGateway();
    await writeFile(at('root.der'), gateway.pki.root.certificate);
    await run('javac', ['-d', gateway.directory, '-cp', JARS.join(':'), SOURCE]);
  });
  afterAll(() => gateway?.stop());

  const client = async (label: string, ...args: readonly string[]): Promise<string[][]> => {
    const path = [gateway.directory, ...JARS].join(':');
    const { stdout } = await run(
      'java',
      ['-cp', path, 'EstClient', String(gateway.port), at('root.der'), label, ...args],
      { timeout: 25_000 },
    );
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]);
  };
  const certificateIn = (line: readonly string[] | undefined): X509Certificate => {
    expect(line?.[0], JSON.stringify(line)).toBe('certificate');
    return new X509Certificate(Buffer.from(line?.[1] ?? '', 'base64'));
  };
  const device = async (id: string, code?: string): Promise<TestDevice> => {
    const made = await newDevice(id);
    await writeFile(at(`${id}.csr`), made.csr);
    await writeFile(at(`${id}.key`), made.key.privateKey.export({ format: 'der', type: 'pkcs8' }), { mode: 0o600 });
    if (code !== undefined) await writeFile(at(`${id}.code`), code, { mode: 0o600 });
    return made;
  };

  test('given the root, when it asks for cacerts, then all three certificates come, with a label and without', async () => {
    const { root, deviceCa, operationsCa } = gateway.pki;
    const expected = [root, deviceCa, operationsCa]
      .map(({ certificate }) => Buffer.from(certificate).toString('base64'))
      .sort();
    for (const label of ['-', 'egm']) {
      const lines = await client(label, 'cacerts');
      expect(lines.map(([, base64 = '']) => base64).sort()).toEqual(expected);
    }
  });

  test('given a class, when it asks for csrattrs, then it reads the key types', async () => {
    expect(await client('egm', 'csrattrs')).toEqual([
      ['attribute', OID.ecPublicKey],
      ['attribute', OID.rsaEncryption],
    ]);
  });

  test('given a ticket, when it is challenged, then it enrols by Basic, and renews with that certificate', async () => {
    await gateway.register('egm-1');
    const { key } = await device('egm-1', await gateway.ticket('egm-1'));
    const [enrolled, ...more] = await client('-', 'enrol', at('egm-1.csr'), 'egm-1', at('egm-1.code'));
    expect(more).toEqual([]);
    const certificate = certificateIn(enrolled);
    expect(certificate.checkPrivateKey(key.privateKey)).toBe(true);
    await writeFile(at('egm-1.crt'), certificate.raw);
    const [renewed] = await client('egm', 'renew', at('egm-1.csr'), at('egm-1.crt'), at('egm-1.key'));
    expect(certificateIn(renewed).serialNumber).not.toBe(certificate.serialNumber);
  });

  test('given a wrong code, when it enrols, then it sees 401; with the right one it enrols', async () => {
    await gateway.register('egm-2');
    await device('egm-2', '00000-00000-00000-00000');
    const code = await gateway.ticket('egm-2');
    const [refused] = await client('-', 'enrol', at('egm-2.csr'), 'egm-2', at('egm-2.code'));
    expect([refused?.[0], refused?.[1]?.slice(0, 3)]).toEqual(['refused', '401']);
    await writeFile(at('egm-2.code'), code);
    certificateIn((await client('-', 'enrol', at('egm-2.csr'), 'egm-2', at('egm-2.code')))[0]);
  });

  test('given a label of another class, when it enrols, then it shows our reason', async () => {
    await gateway.register('egm-4');
    await device('egm-4', await gateway.ticket('egm-4'));
    const [refused] = await client('kiosk', 'enrol', at('egm-4.csr'), 'egm-4', at('egm-4.code'));
    expect(refused?.join(' ')).toContain('refused 404 the label kiosk is not the class of the device');
    certificateIn((await client('egm', 'enrol', at('egm-4.csr'), 'egm-4', at('egm-4.code')))[0]);
  });

  test('given no ticket, when an engineer approves meanwhile, then its second request is served after the interval', async () => {
    await gateway.register('egm-3');
    const { key } = await device('egm-3');
    const asking = client('-', 'enrol', at('egm-3.csr'));
    await gateway.approve(await gateway.pendingRequest());
    const [pending, issued] = await asking;
    expect(pending).toEqual(['pending', '2']);
    expect(certificateIn(issued).checkPrivateKey(key.privateKey)).toBe(true);
  });
});
