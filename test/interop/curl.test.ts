/** openssl and curl alone: a device without any client of EST (RFC 8951). */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem } from '#pki/certificate/pem.ts';
import { startEstGateway, type EstGateway } from '#test/support/est-gateway.ts';

const run = promisify(execFile);

describe('openssl and curl', () => {
  let gateway: EstGateway;

  beforeAll(async () => {
    for (const tool of ['curl', 'openssl']) {
      await run(tool, ['version']).catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
          throw new Error(`${tool} is needed: apt-get install ${tool}`);
      });
    }
    gateway = await startEstGateway();
    await writeFile(join(gateway.directory, 'root.pem'), encodePem('CERTIFICATE', gateway.pki.root.certificate));
  });
  afterAll(() => gateway?.stop());

  /** Runs shell lines in the directory of the gateway, as docs/est.md shows them. */
  const shell = async (script: string): Promise<string> => {
    const env = { ...process.env, EST: `${gateway.url}/.well-known/est` };
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: gateway.directory,
      env,
      timeout: 20_000,
    });
    return stdout;
  };
  const newRequest = (id: string): string =>
    `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${id} -keyout ${id}.key -out ${id}.csr 2>/dev/null`;
  const toPem = (name: string): string =>
    `openssl base64 -d -A | openssl pkcs7 -inform der -print_certs -out ${name}.pem`;

  test('given the root, when cacerts is fetched, then openssl finds a chain to the root in it', async () => {
    await shell(`curl -sS --fail --cacert root.pem $EST/cacerts | ${toPem('cas')}`);
    expect(await shell('openssl verify -CAfile root.pem -untrusted cas.pem cas.pem')).toContain('cas.pem: OK');
  });

  test('given a ticket, when a PEM request is sent, then renewed with its certificate, then openssl verifies both', async () => {
    await gateway.register('egm-1');
    await writeFile(join(gateway.directory, 'auth'), `user = "egm-1:${await gateway.ticket('egm-1')}"\n`, {
      mode: 0o600,
    });
    await shell(`
      ${newRequest('egm-1')}
      curl -sS --fail --cacert root.pem $EST/cacerts | ${toPem('cas')}
      post() { curl -sS --fail --cacert root.pem -H 'Content-Type: application/pkcs10' --data-binary @egm-1.csr "$@"; }
      post -K auth $EST/egm/simpleenroll | ${toPem('egm-1')}
      post --cert egm-1.pem --key egm-1.key $EST/simplereenroll | ${toPem('egm-1-next')}
    `);
    const verified = await shell(
      'openssl verify -purpose sslclient -CAfile root.pem -untrusted cas.pem egm-1.pem egm-1-next.pem',
    );
    expect(verified).toBe('egm-1.pem: OK\negm-1-next.pem: OK\n');
    const [first, next] = await Promise.all(
      ['egm-1.pem', 'egm-1-next.pem'].map((name) => readFile(join(gateway.directory, name), 'utf8')),
    );
    expect(next).not.toBe(first);
  });

  test('given a wrong code, when sent, then curl sees the challenge', async () => {
    await gateway.register('egm-2');
    const seen = await shell(`
      ${newRequest('egm-2')}
      curl -sS -D - -u egm-2:wrong --cacert root.pem -H 'Content-Type: application/pkcs10' --data-binary @egm-2.csr $EST/simpleenroll
    `);
    expect(seen).toContain(
      'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm="test"\r\n',
    );
  });

  test('given a key type that is not allowed, when sent, then curl shows the reason and what to do', async () => {
    await gateway.register('egm-3');
    await writeFile(join(gateway.directory, 'auth'), `user = "egm-3:${await gateway.ticket('egm-3')}"\n`, {
      mode: 0o600,
    });
    const seen = await shell(`
      openssl req -new -newkey rsa:3072 -nodes -subj /CN=egm-3 -keyout k -out egm-3.csr 2>/dev/null
      curl -sS -K auth --cacert root.pem -H 'Content-Type: application/pkcs10' --data-binary @egm-3.csr $EST/simpleenroll
    `);
    expect(seen).toMatch(
      /a key of RSA with 3072 bits is not allowed here; allowed: EC-P256, EC-P384, RSA-2048 \(csr\.key-type-refused\)\nUse a key type that csrattrs names\.\n/,
    );
  });
});
