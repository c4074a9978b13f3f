/** Bundles that the gateway has lost: taken in only where each is verified by the one before. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keepTrustLink, reconcileTrustLinks } from '#gateway/installation/trust-links.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { importTrustLinks, missingLinks, readTrustBundle, type TrustImportPorts } from '#gateway/trust/import.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { Realm, TrustVersion, type Sha256 } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { collectingLog, type LogLine } from '#test/support/gateway-host.ts';
import { MessageAuthority, type PublishedBundle } from '#test/support/message-authority.ts';
import { event } from '#test/support/store-fixtures.ts';

let directory: string;
let store: Store;
let authority: MessageAuthority;
/** The whole chain; the gateway holds the first. */
let chain: PublishedBundle[];
let imported: number[];
let ports: TrustImportPorts;

beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'croupier-trust-'));
  authority = await MessageAuthority.create();
  chain = [await authority.publishBundle(), await authority.publishBundle(), await authority.publishBundle()];
  store = await openSqliteStore({ path: ':memory:', realm: authority.realm, busyTimeoutMs: 100 });
  await store.appendTrustBundle(readTrustBundle(linkOf(1)), systemClock.now(), event('trust.publish'));
  imported = [];
  ports = { store, clock: systemClock, onImported: async ({ version }) => void imported.push(version) };
});

afterEach(async () => {
  await store.close();
  rmSync(directory, { recursive: true });
});

function bundleOf(version: number): PublishedBundle {
  const found = chain.find((bundle) => bundle.version === version);
  if (found === undefined) throw new Error(`the chain has no ${version}`);
  return found;
}
const linkOf = (version: number): Uint8Array => bundleOf(version).der;
const digestOf = (version: number): Sha256 => bundleOf(version).digest;
const GRACE = { type: 'operator', id: 'grace' } as const;

describe('bundles that a gateway lacks', () => {
  test('given links in any order, some of them held, then what is missing is taken in, in order', async () => {
    expect(await importTrustLinks(ports, [linkOf(3), linkOf(1), linkOf(2), linkOf(3)], GRACE)).toEqual([2, 3]);
    expect(imported).toEqual([2, 3]);
    expect((await store.trustLinks(readTrustBundle(linkOf(1)).version, 9)).map(({ sha256 }) => sha256)).toEqual(
      chain.slice(1).map(({ digest }) => digest),
    );
    expect(await importTrustLinks(ports, [linkOf(2), linkOf(3)], GRACE)).toEqual([]);
  });

  test('given a link between is missing, then nothing is taken in, and the refusal is on record', async () => {
    await expectRefusal('trust.link-missing', () => importTrustLinks(ports, [linkOf(3)], GRACE));
    expect([(await store.latestTrustBundle())?.version, imported]).toEqual([1, []]);
    const [last] = await store.auditRecords((await store.auditHead()).seq - 1, 1);
    expect(last).toMatchObject({ action: 'trust.import', outcome: 'denied', code: 'trust.link-missing' });
  });

  test('given one bad link behind a good one, then neither is taken in', async () => {
    const other = await authority.makeBundle({ previous: digestOf(1) });
    await expectRefusal('trust.link-forked', () => importTrustLinks(ports, [linkOf(2), linkOf(3), other.der], GRACE));
    expect((await store.latestTrustBundle())?.version).toBe(1);
  });

  test.each<[string, ErrorCode, () => Promise<Uint8Array>]>([
    [
      'another bundle of a number that is held',
      'trust.link-forked',
      async () => (await authority.makeBundle({ version: TrustVersion.parse(1), previous: null })).der,
    ],
    [
      'a signer that the bundle before does not trust',
      'message.signer-untrusted',
      async () => {
        const stranger = await authority.newSigner('stranger');
        authority.bundles.splice(1);
        return (await authority.makeBundle({ signers: [stranger], by: [stranger] })).der;
      },
    ],
    [
      'an altered byte',
      'message.signature-invalid',
      async () => {
        const der = Buffer.from(linkOf(2));
        der.writeUInt8(der.readUInt8(der.length - 1) ^ 1, der.length - 1);
        return der;
      },
    ],
    ['something else', 'message.malformed', async () => Buffer.from('no bundle')],
  ])('given %s, then it is refused', async (_, code, make) => {
    const link = await make();
    await expectRefusal(code, () => missingLinks(store, [link]));
  });

  test('given the next bundle of another realm, signed by the same, then it is refused (I10)', async () => {
    const realm = Realm.parse('elsewhere');
    const link = await authority.makeBundle({ version: TrustVersion.parse(2), previous: digestOf(1), realm });
    await expectRefusal('message.wrong-realm', () => missingLinks(store, [link.der]));
  });
});

describe('files of trust bundles', () => {
  const reconcile = async (): Promise<readonly LogLine[]> => {
    const lines: LogLine[] = [];
    await reconcileTrustLinks(directory, { ...ports, store, log: collectingLog(lines) });
    return lines;
  };

  test('given a database that lacks links, then the files bring them back; given files that are missing, they are written', async () => {
    await importTrustLinks(ports, [linkOf(2)], GRACE);
    await reconcile();
    expect(readdirSync(directory)).toEqual(['000001.p7m', '000002.p7m']);
    await keepTrustLink(directory, readTrustBundle(linkOf(3)));
    expect(statSync(path.join(directory, '000003.p7m')).mode & 0o777).toBe(0o600);
    expect((await reconcile()).map(({ level }) => level)).toEqual(['warn']);
    expect((await store.latestTrustBundle())?.version).toBe(3);
  });

  test('given another history in a file, then it is neither taken in nor overwritten, and told', async () => {
    await keepTrustLink(directory, readTrustBundle(linkOf(1)));
    const other = readTrustBundle(
      (await authority.makeBundle({ version: TrustVersion.parse(2), previous: digestOf(3) })).der,
    );
    await keepTrustLink(directory, other);
    expect(await reconcile()).toMatchObject([{ level: 'error', fields: { code: 'trust.link-forked' } }]);
    expect((await store.latestTrustBundle())?.version).toBe(1);
    await expectRefusal('trust.link-forked', () => keepTrustLink(directory, readTrustBundle(linkOf(2))));
    expect(Buffer.compare(readFileSync(path.join(directory, '000002.p7m')), other.der)).toBe(0);
  });

  test('given files that are not bundles, then the gateway starts all the same', async () => {
    writeFileSync(path.join(directory, '000002.p7m'), 'garbage');
    writeFileSync(path.join(directory, 'README'), 'not a link');
    expect((await reconcile())[0]).toMatchObject({ level: 'error', fields: { code: 'message.malformed' } });
  });
});
