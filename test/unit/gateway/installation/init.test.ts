import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import { initialise, type InitOptions, type InitResult } from '#gateway/installation/init.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { verifyChain } from '#gateway/audit/chain.ts';
import { Realm } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

let parent: string;
let result: InitResult;

const options = (name: string, over: Partial<InitOptions> = {}): InitOptions => ({
  directory: path.join(parent, name),
  realm: 'test',
  operator: 'Example Casino',
  names: ['localhost', '127.0.0.1'],
  founders: [
    { name: 'kim', role: 'key-admin' },
    { name: 'ari', role: 'approver' },
  ],
  clock: systemClock,
  random: systemRandom,
  ...over,
});

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

beforeAll(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'croupier-init-'));
  result = await initialise(options('realm'));
});

afterAll(() => rm(parent, { recursive: true }));

describe('a ceremony on an empty directory', () => {
  test('given its certificates, then each verifies under its issuer, and the fingerprint is the root’s', async () => {
    const read = async (name: string) => new X509Certificate(await readFile(path.join(result.data.ca, `${name}.pem`)));
    const [root, deviceCa, operationsCa, signer] = await Promise.all(
      ['root', 'device-ca', 'operations-ca', 'message-signer'].map(read),
    );
    expect(root?.fingerprint256.replaceAll(':', '').toLowerCase()).toBe(result.rootFingerprint);
    for (const [subject, issuer] of [
      [root, root],
      [deviceCa, root],
      [operationsCa, root],
      [signer, operationsCa],
    ] as const) {
      expect(issuer !== undefined && subject?.verify(issuer.publicKey)).toBe(true);
    }
    expect(deviceCa !== undefined && signer?.verify(deviceCa.publicKey)).toBe(false);
  });

  test('given what it wrote, then secrets are the owner’s alone', async () => {
    const secrets = [
      result.data.hsmPin,
      result.data.rootPin,
      path.join(result.data.tls, 'gateway.key'),
      ...result.operators.map(({ tokenFile }) => tokenFile),
    ];
    for (const file of secrets) expect((await stat(file)).mode & 0o777, file).toBe(0o600);
    for (const folder of [result.data.root, result.data.hsm, result.data.rootToken, result.data.operators]) {
      expect((await stat(folder)).mode & 0o777, folder).toBe(0o700);
    }
  });

  test('given the audit trail, then every certificate was intended before it was made', async () => {
    const store = await openSqliteStore({
      path: path.join(result.data.root, 'croupier.db'),
      realm: Realm.parse('test'),
      busyTimeoutMs: 1_000,
    });
    try {
      const records = await store.auditRecords(0, 1_000);
      verifyChain(records);
      const intended = records.flatMap(({ action, object }) => (action === 'certificate.intend' ? [object?.id] : []));
      const made = records.flatMap(({ action, object }) => (action === 'ceremony.certificate' ? [object?.id] : []));
      expect(made).toHaveLength(result.ceremonies.length);
      for (const serial of made) expect(intended).toContain(serial);
    } finally {
      await store.close();
    }
  });

  test('given PINs and tokens, then none of them stands in any other file (I2)', async () => {
    const tokenFiles = [result.data.hsmPin, result.data.rootPin, ...result.operators.map(({ tokenFile }) => tokenFile)];
    const secrets = await Promise.all(tokenFiles.map(async (file) => (await readFile(file, 'utf8')).trim()));
    for (const file of await filesBelow(result.data.root)) {
      if (tokenFiles.includes(file)) continue;
      const content = await readFile(file);
      for (const secret of secrets) expect(content.includes(secret), file).toBe(false);
    }
  });
});

describe('where a ceremony is refused', () => {
  test('given a realm already, when it is initialised again, then nothing is touched', async () => {
    const before = await readFile(result.data.config);
    await expectRefusal('data.initialised', () => initialise(options('realm')));
    expect(await readFile(result.data.config)).toEqual(before);
  });

  test('given a ceremony that was broken off, then it does not look like a realm, and is not built upon', async () => {
    const interrupted = options('interrupted', {
      onStep: (step) => {
        if (step.startsWith('message-signer')) throw new Error('the power went');
      },
    });
    await expect(initialise(interrupted)).rejects.toThrow('the power went');
    await expectRefusal('config.missing', () => loadConfig(dataDirectory(interrupted.directory)));
    await expectRefusal('data.initialised', () => initialise(options('interrupted')));
  });

  test.each([
    ['a realm name with a slash', { realm: 'a/b' }, 'input.invalid'],
    ['a policy with an unknown key', { policy: 'version: 1\nclasses: {}\nsurprise: true\n' }, 'config.invalid'],
    [
      'an operator of an impossible name',
      { founders: [{ name: 'K I M', role: 'key-admin' as const }] },
      'input.invalid',
    ],
  ] as const)('given %s, then it is refused by name', async (_, over, code) => {
    await expectRefusal(code, () => initialise(options(`refused-${code}-${Object.keys(over).join()}`, over)));
  });
});
