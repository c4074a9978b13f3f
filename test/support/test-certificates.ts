/**
 * Certificates for tests, made with the openssl command line, so that what is tested is judged by certificates that our
 * own encoder did not write. Keys are on disk because the programs under test (mosquitto, curl) read files.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface TestCertificate {
  readonly keyFile: string;
  readonly certFile: string;
  /** PEM. */
  readonly key: string;
  /** PEM, the certificate alone. */
  readonly cert: string;
}

export interface TestCertificateOptions {
  /** subjectAltName in openssl's notation, such as `DNS:localhost,IP:127.0.0.1`. */
  readonly subjectAltName?: string;
  readonly extendedKeyUsage?: 'clientAuth' | 'serverAuth';
}

export interface TestAuthority extends TestCertificate {
  /** A CA below this one. */
  authority(name: string): Promise<TestAuthority>;
  /** An end-entity certificate, valid for a day, with a P-256 key; for clients unless told otherwise. */
  issue(name: string, options?: TestCertificateOptions): Promise<TestCertificate>;
  /** A client certificate that expired years ago. */
  issueExpired(name: string): Promise<TestCertificate>;
}

export interface TestPki {
  readonly directory: string;
  readonly root: TestAuthority;
  /** Signs devices. */
  readonly deviceCa: TestAuthority;
  /** Signs the gateway. */
  readonly operationsCa: TestAuthority;
  /** For 127.0.0.1 and localhost, below the operations CA. */
  readonly gateway: TestCertificate;
  /** The gateway's certificate and the operations CA, PEM. */
  readonly gatewayChain: string;
  /** A root that nobody trusts, with the same name as ours. */
  readonly foreignRoot: TestAuthority;
  remove(): Promise<void>;
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const CA_EXTENSIONS = [
  '-addext',
  'basicConstraints=critical,CA:TRUE',
  '-addext',
  'keyUsage=critical,keyCertSign,cRLSign',
];

let count = 0;

async function certificate(directory: string, name: string, args: readonly string[]): Promise<TestCertificate> {
  count += 1;
  const keyFile = join(directory, `${count}-${name}.key`);
  const certFile = join(directory, `${count}-${name}.pem`);
  const subject = `/O=Test Casino/CN=${name}`;
  await run('openssl', ['req', '-x509', ...P256, '-keyout', keyFile, '-out', certFile, '-subj', subject, ...args]);
  return { keyFile, certFile, key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8') };
}

/** `openssl req` cannot date back; `openssl ca` can, and wants a directory of state. */
async function expired(directory: string, issuer: TestCertificate, name: string): Promise<TestCertificate> {
  const state = await mkdtemp(join(directory, 'ca-'));
  const path = (file: string): string => join(state, file);
  const config = [
    '[ca]\ndefault_ca = d\n[d]',
    `database = ${path('index')}`,
    `new_certs_dir = ${state}`,
    'rand_serial = yes\ndefault_md = sha256\npolicy = p\nx509_extensions = x\n[p]\ncommonName = supplied',
    '[x]\nextendedKeyUsage = clientAuth',
  ].join('\n');
  await writeFile(path('config'), config);
  await writeFile(path('index'), '');
  const [keyFile, certFile] = [path(`${name}.key`), path(`${name}.pem`)];
  await run('openssl', ['req', ...P256, '-keyout', keyFile, '-out', path('csr'), '-subj', `/CN=${name}`]);
  const dates = ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z'];
  const by = ['-cert', issuer.certFile, '-keyfile', issuer.keyFile];
  await run('openssl', [
    'ca',
    '-batch',
    '-notext',
    '-config',
    path('config'),
    ...by,
    ...dates,
    '-in',
    path('csr'),
    '-out',
    certFile,
  ]);
  return { keyFile, certFile, key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8') };
}

function authority(directory: string, own: TestCertificate): TestAuthority {
  const by = ['-CA', own.certFile, '-CAkey', own.keyFile];
  return {
    ...own,
    authority: async (name) =>
      authority(directory, await certificate(directory, name, [...by, ...CA_EXTENSIONS, '-days', '30'])),
    issue: (name, options = {}) => {
      const san = options.subjectAltName === undefined ? [] : ['-addext', `subjectAltName=${options.subjectAltName}`];
      const usage = [
        '-addext',
        'keyUsage=critical,digitalSignature',
        '-addext',
        `extendedKeyUsage=${options.extendedKeyUsage ?? 'clientAuth'}`,
      ];
      const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE', ...usage, ...san, '-days', '1'];
      return certificate(directory, name, [...by, ...leaf]);
    },
    issueExpired: (name) => expired(directory, own, name),
  };
}

/** Root, Device CA, Operations CA and a gateway certificate in a temporary directory of their own. */
export async function createTestPki(): Promise<TestPki> {
  const directory = await mkdtemp(join(tmpdir(), 'croupier-pki-'));
  const newRoot = async (): Promise<TestAuthority> =>
    authority(directory, await certificate(directory, 'Test Root', [...CA_EXTENSIONS, '-days', '30']));
  const [root, foreignRoot] = await Promise.all([newRoot(), newRoot()]);
  const [deviceCa, operationsCa] = await Promise.all([
    root.authority('Test Device CA'),
    root.authority('Test Operations CA'),
  ]);
  const gateway = await operationsCa.issue('gateway', {
    subjectAltName: 'DNS:localhost,IP:127.0.0.1',
    extendedKeyUsage: 'serverAuth',
  });
  return {
    directory,
    root,
    deviceCa,
    operationsCa,
    gateway,
    gatewayChain: gateway.cert + operationsCa.cert,
    foreignRoot,
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
