/** The offline half of a ceremony, on a real token: the record comes before the signature. */
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeRootOffline, signOffline, type SigningCeremony } from '#gateway/installation/ceremony.ts';
import { requestIntermediate } from '#pki/ceremony/intermediate.ts';
import { parseTbs } from '#pki/certificate/parse.ts';
import { decodePemAll, encodePem } from '#pki/certificate/pem.ts';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

let directory: string;
const file = (name: string): string => path.join(directory, name);
const now = new Date(Math.floor(Date.now() / 1000) * 1000);

const common = () => ({ rootToken: file('root-token'), performedBy: ['ada', 'grace'], now });
const signing = (out: string, over: Partial<SigningCeremony> = {}): SigningCeremony => ({
  ...common(),
  csr: file('device-ca-2.csr'),
  years: 5,
  out: file(out),
  ...over,
});
const lines = async (name: string): Promise<Record<string, unknown>[]> =>
  (await readFile(file(name), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

async function request(realm: string, name: string): Promise<void> {
  const wanted = { kind: 'device-ca', generation: 2, realm, operator: 'Casino' } as const;
  const csr = await requestIntermediate({ ...wanted, hsm: createMemoryKeyStore(), algorithm: 'EC-P256' });
  await writeFile(file(name), encodePem('CERTIFICATE REQUEST', csr));
}

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'croupier-ceremony-'));
  await request('test', 'device-ca-2.csr');
  await makeRootOffline({ ...common(), realm: 'test', operator: 'Casino', generation: 2, out: file('root-2.pem') });
});
afterAll(() => rm(directory, { recursive: true }));

describe('a root made offline', () => {
  test('then certificate, record and token are there, and the record names who was present', async () => {
    const root = new X509Certificate(await readFile(file('root-2.pem')));
    expect(root.verify(root.publicKey)).toBe(true);
    const [intent, made] = await lines('root-2.pem.ceremony.jsonl');
    expect(intent).toMatchObject({ kind: 'intent', realm: 'test', performedBy: ['ada', 'grace'] });
    expect(made).toMatchObject({ kind: 'made', ceremony: 'root', commonName: 'Croupier Root CA 2' });
    expect((await stat(file('root-token/pin'))).mode & 0o777).toBe(0o600);
  });

  test('given a token already, then no second key is made in it', async () => {
    const again = { ...common(), realm: 'test', operator: 'Casino', generation: 3, out: file('root-3.pem') };
    await expectRefusal('data.initialised', () => makeRootOffline(again));
    expect(await readdir(directory)).not.toContain('root-3.pem');
  });
});

describe('a request signed offline', () => {
  test('then the certificate stands below the root, and what the record announced is what was signed', async () => {
    const { record } = await signOffline(signing('device-ca-2.pem'));
    const chain = decodePemAll('CERTIFICATE', await readFile(file('device-ca-2.pem'), 'utf8'));
    const [certificate, root] = chain.map((der) => new X509Certificate(der));
    expect(root !== undefined && certificate?.verify(root.publicKey)).toBe(true);
    const [intent, made, ...more] = await lines('device-ca-2.pem.ceremony.jsonl');
    expect(more).toEqual([]);
    const announced = parseTbs(Buffer.from(String(intent?.['tbs']), 'base64'));
    expect(announced.serialNumber).toBe(certificate?.serialNumber.toLowerCase());
    expect(made).toMatchObject({ kind: 'made', ...record });
  });

  test('given a record already, then nothing is signed', async () => {
    await signOffline(signing('once.pem'));
    const before = await readFile(file('once.pem'));
    await expectRefusal('input.invalid', () => signOffline(signing('once.pem')));
    expect(await readFile(file('once.pem'))).toEqual(before);
    expect(await lines('once.pem.ceremony.jsonl')).toHaveLength(2);
  });

  test('given a place where no record can be written, then nothing is signed', async () => {
    await expectRefusal('input.invalid', () => signOffline(signing('no-such-directory/x.pem')));
  });

  test('given the request of another realm, a file that is none, or too many years, then nothing is written', async () => {
    await request('other', 'other.csr');
    await writeFile(file('nothing.csr'), 'nothing');
    const before = await readdir(directory);
    await expectRefusal('certificate.purpose-refused', () => signOffline(signing('a.pem', { csr: file('other.csr') })));
    await expectRefusal('input.invalid', () => signOffline(signing('b.pem', { csr: file('nothing.csr') })));
    await expectRefusal('config.missing', () => signOffline(signing('c.pem', { csr: file('missing.csr') })));
    await expectRefusal('certificate.lint-failed', () => signOffline(signing('d.pem', { years: 6 })));
    expect(await readdir(directory)).toEqual(before);
  });
});
