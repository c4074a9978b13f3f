/** The commands of a rotation on a real store, with keys in memory: what follows from each step, and what a crash leaves. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Authority } from '#gateway/operators/command.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { authorityCommands, type AuthorityCommands } from '#gateway/trust/authority-commands.ts';
import { holdAuthorities, type HeldAuthorities } from '#gateway/trust/authorities.ts';
import { isIssuedBy } from '#gateway/trust/lineage.ts';
import { isUpToDate, publishNextBundle, type NextBundlePorts } from '#gateway/trust/publish.ts';
import { publishIfBehind } from '#gateway/wiring/trust.ts';
import { readBundle, verifyGenesis, verifyLink } from '#agent/trust/bundle.ts';
import { intermediateCeremony, requestedIntermediate } from '#pki/ceremony/intermediate.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import { decodePem, encodePem } from '#pki/certificate/pem.ts';
import { parseCsr } from '#pki/csr/parse.ts';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { Realm, TrustVersion } from '#schema/ids.ts';
import { Policy } from '#schema/policy.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { seedAuthorities } from '#test/support/realm-authorities.ts';
import { createTestPki, type TestPki } from '#test/support/test-pki.ts';

const realm = Realm.parse('test');
const policy = Policy.parse({ version: 1, classes: { egm: { keyTypes: ['EC-P256'], validity: '30d' } } });
const ADA: Authority = { actor: { type: 'operator', id: 'ada' }, approval: undefined };

let directory: string;
let store: Store;
let pki: TestPki;
let held: HeldAuthorities;
let ports: NextBundlePorts;
let commands: AuthorityCommands;

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'croupier-authorities-'));
  store = await openSqliteStore({ path: path.join(directory, 'croupier.db'), realm, busyTimeoutMs: 1_000 });
  pki = await createTestPki();
  await seedAuthorities(store, pki, systemClock.now());
  held = await holdAuthorities(store, pki.hsm);
  const nothing = (): void => undefined;
  const common = { realm, store, clock: systemClock, random: systemRandom, policy: () => policy, onPublished: nothing };
  ports = { ...common, authorities: held.get };
  const { operator } = pki.setting;
  commands = authorityCommands({ ...common, operator, keyStore: pki.hsm, authorities: held });
  await publishNextBundle(ports, ADA);
});

afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

const stateOf = async (keyLabel: string): Promise<string | undefined> =>
  (await store.authorities()).find((record) => record.keyLabel === keyLabel)?.state;
const actions = async (): Promise<readonly string[]> =>
  (await store.auditRecords(0, 1_000)).map(({ action }) => action);
const latest = async (): Promise<number> => (await store.latestTrustBundle())?.version ?? 0;

type Ca = 'device-ca' | 'operations-ca';
interface Root {
  readonly rootCertificate: Uint8Array;
  readonly rootSigner: Signer;
}

async function prepare(role: Ca): Promise<Uint8Array> {
  const result = await commands['authority.prepare'].execute({ role }, ADA);
  return decodePem('CERTIFICATE REQUEST', z.object({ request: z.string() }).parse(result).request);
}

async function sign(csr: Uint8Array, root: Root): Promise<string> {
  const { certificate } = await intermediateCeremony({
    ...pki.setting,
    ...requestedIntermediate(csr),
    ...root,
    csr,
    years: 5,
  });
  return encodePem('CERTIFICATE', certificate);
}

const firstRoot = (): Root => ({ rootCertificate: pki.root.certificate, rootSigner: pki.root.signer });
const install = (role: Ca | 'root', certificates: string) =>
  commands['authority.install'].execute({ role, certificates }, ADA);
const switchTo = (role: Ca | 'message-signer' | 'message-signer-standby', compromised = false) =>
  commands['authority.switch'].execute({ role, compromised, force: false }, ADA);

/** No rollout engine runs here: what was published counts as released once its rollout is active. */
async function release(): Promise<void> {
  for (const rollout of await store.rollouts(true, 10)) {
    const finishedAt = systemClock.now();
    await store.advanceRollout(rollout.id, finishedAt, () => ({
      kind: 'advance',
      rollout: { ...rollout, state: 'completed', finishedAt },
      versions: [],
      due: 'none',
      audit: [],
    }));
  }
}

describe('preparing a CA', () => {
  test('then its key is in the HSM, its request is for that key, and it is on record; again, it is the same key', async () => {
    const csr = parseCsr(await prepare('device-ca'));
    expect(csr.subjectName.commonName).toBe('Croupier Device CA 2');
    expect(csr.spki).toEqual((await pki.hsm.signer('device-ca-2')).spki);
    expect(await stateOf('device-ca-2')).toBe('prepared');
    expect(parseCsr(await prepare('device-ca')).spki).toEqual(csr.spki);
    expect(await pki.hsm.labels()).not.toContain('device-ca-3');
    expect((await actions()).filter((action) => action === 'authority.prepare')).toHaveLength(2);
  });

  test('given a crash between the record and the key, when it is prepared again, then the key is made under the label on record', async () => {
    const at = systemClock.now();
    const lost = { role: 'device-ca', keyLabel: 'device-ca-2', state: 'prepared', certificate: undefined } as const;
    await store.decideAuthorities(at, () => ({
      kind: 'change',
      put: [{ ...lost, createdAt: at, changedAt: at }],
      audit: [],
    }));
    expect(parseCsr(await prepare('device-ca')).spki).toEqual((await pki.hsm.signer('device-ca-2')).spki);
  });

  test('given a key of the next label that the database does not know, then it is not taken for the new one', async () => {
    await pki.hsm.generateSigningKey('device-ca-2', 'EC-P256');
    expect(requestedIntermediate(await prepare('device-ca')).generation).toBe(3);
  });
});

describe('installing a CA', () => {
  test('given its certificate, then it is next, and the next trust bundle names it beside the current one', async () => {
    const certificates = await sign(await prepare('device-ca'), firstRoot());
    await install('device-ca', certificates);
    expect(await stateOf('device-ca-2')).toBe('next');
    const bundle = await store.latestTrustBundle();
    expect(bundle?.version).toBe(2);
    expect(bundle?.body.anchors.identity).toEqual(
      [pki.deviceCa.certificate, decodePem('CERTIFICATE', certificates)].map((der) =>
        Buffer.from(der).toString('base64'),
      ),
    );
    expect(isUpToDate(bundle, held.get())).toBe(true);
  });

  test('given another certificate, or none that waits, then it is refused before anybody approves, and nothing changes', async () => {
    const check = (role: Ca | 'root', certificates: string) => async () =>
      commands['authority.install'].check?.({ role, certificates });
    const current = encodePem('CERTIFICATE', pki.deviceCa.certificate);
    await expectRefusal('authority.not-found', check('device-ca', current));
    await prepare('device-ca');
    await expectRefusal('authority.certificate-mismatch', check('device-ca', current));
    await expectRefusal('certificate.malformed', check('device-ca', 'no PEM'));
    const foreign = await createTestPki({ realm: 'other' });
    await expectRefusal(
      'authority.certificate-mismatch',
      check('root', encodePem('CERTIFICATE', foreign.root.certificate)),
    );
    expect([await stateOf('device-ca-2'), await latest()]).toEqual(['prepared', 1]);
  });

  test('given a crash after it was recorded, when the gateway starts, then it publishes the trust bundle', async () => {
    const certificate = decodePem('CERTIFICATE', await sign(await prepare('device-ca'), firstRoot()));
    await store.decideAuthorities(systemClock.now(), ({ records }) => ({
      kind: 'change',
      put: records
        .filter(({ keyLabel }) => keyLabel === 'device-ca-2')
        .map((one) => ({ ...one, state: 'next', certificate })),
      audit: [],
    }));
    await held.reload();
    await publishIfBehind(ports);
    expect(await latest()).toBe(2);
    await publishIfBehind(ports);
    expect(await latest(), 'nothing to say').toBe(2);
  });
});

describe('switching the Operations CA to another root', () => {
  let secondRoot: Root;

  beforeEach(async () => {
    const keyStore = createMemoryKeyStore();
    const made = await rootCeremony({ ...pki.setting, keyStore, algorithm: 'EC-P256', generation: 2, years: 20 });
    secondRoot = { rootCertificate: made.certificate, rootSigner: await keyStore.signer('root') };
    await install('root', encodePem('CERTIFICATE', made.certificate));
    await install('operations-ca', await sign(await prepare('operations-ca'), secondRoot));
  });

  test('given no released bundle that names it, then it is refused; once there is one it is done', async () => {
    await expectRefusal('authority.state-refused', () => switchTo('operations-ca'));
    await release();
    await switchTo('operations-ca');
    expect(await Promise.all(['operations-ca-1', 'operations-ca-2'].map(stateOf))).toEqual(['previous', 'current']);
  });

  test('then signers keep their keys under the new CA, tickets name the new root, and the audit trail keeps the old one', async () => {
    await release();
    const before = held.get();
    await switchTo('operations-ca');
    const after = held.get();
    expect(after.root).toEqual(secondRoot.rootCertificate);
    expect(after.auditRoot).toEqual(pki.root.certificate);
    expect(after.auditSigner.certificate).toEqual(before.auditSigner.certificate);
    for (const which of ['messageSigner', 'standbySigner'] as const) {
      expect(after[which]?.signer.spki).toEqual(before[which]?.signer.spki);
      expect(isIssuedBy(after[which]?.certificate ?? Buffer.alloc(0), after.operationsCa)).toBe(true);
    }
    expect((await actions()).filter((action) => action === 'certificate.intend')).toHaveLength(2);
  });

  test('then a device that begins with the new root takes the latest bundle, and one that held the first walks to it', async () => {
    await release();
    await switchTo('operations-ca');
    const links = (await store.trustLinks(TrustVersion.parse(0), 10)).map(({ der }) => readBundle(der));
    const newest = links.at(-1);
    if (newest === undefined) throw new Error('there is no trust bundle');
    verifyGenesis(newest, secondRoot.rootCertificate, realm);
    await expectRefusal('message.signer-untrusted', () => verifyGenesis(newest, pki.root.certificate, realm));
    for (const [index, link] of links.entries()) {
      const before = links[index - 1];
      if (before !== undefined) verifyLink(before, link);
    }
    expect(links).toHaveLength(4);
  });
});

describe('message signers', () => {
  test('given a new standby, then its certificate is announced before it is signed, and it is next; switched, the bundle names it', async () => {
    await commands['authority.prepare'].execute({ role: 'message-signer-standby' }, ADA);
    expect(await stateOf('message-signer-3')).toBe('next');
    const done = await actions();
    expect(done.slice(done.indexOf('authority.prepare'))).toEqual([
      'authority.prepare',
      'certificate.intend',
      'authority.install',
    ]);
    await switchTo('message-signer-standby');
    expect(await stateOf('message-signer-2')).toBe('withdrawn');
    expect((await store.latestTrustBundle())?.body.messageSigners).toHaveLength(2);
    await expectRefusal('authority.state-refused', () => switchTo('message-signer'));
    await release();
    await switchTo('message-signer');
    expect(held.get().messageSigner.signer.spki).toEqual((await pki.hsm.signer('message-signer-3')).spki);
  });

  test('given the current one is compromised, then a bundle that the standby signed, and that names it alone, is released at once', async () => {
    const { standbySigner } = held.get();
    await switchTo('message-signer', true);
    const bundle = await store.latestTrustBundle();
    expect(await store.releasedTrustVersion()).toBe(bundle?.version);
    expect(bundle?.body.messageSigners).toHaveLength(1);
    expect(held.get().messageSigner.certificate).toEqual(standbySigner?.certificate);
    const [first, second] = (await store.trustLinks(TrustVersion.parse(0), 10)).map(({ der }) => readBundle(der));
    if (first === undefined || second === undefined) throw new Error('a trust bundle is missing');
    verifyLink(first, second);
    await expectRefusal('authority.state-refused', () => switchTo('message-signer', true));
  });
});
