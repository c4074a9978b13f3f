/**
 * Every trust bundle as a file of its own, `trust-links/000042.p7m` in the data directory: a database that is restored
 * from a backup has lost links that devices hold already, and nobody can make them a second time.
 */
import { mkdir, open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { importTrustLinks, type TrustImportPorts } from '#gateway/trust/import.ts';
import { writePrivateFile } from './data-directory.ts';

const LINK_FILE = /^(\d{6,7})\.p7m$/;
/** Links compared or read in one go. */
const PAGE = 64;

const fileOf = (directory: string, version: number): string =>
  path.join(directory, `${String(version).padStart(6, '0')}.p7m`);

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

async function makeDurable(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Keeps a link, CMS DER: on return it survives a power cut. A file that is there already stays. Errors:
 * `trust.link-forked` when that is another bundle of the same number.
 */
export async function keepTrustLink(
  directory: string,
  bundle: Pick<TrustBundleRecord, 'version' | 'der'>,
): Promise<void> {
  const file = fileOf(directory, bundle.version);
  const kept = await readFile(file).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (kept !== undefined) {
    if (Buffer.compare(kept, bundle.der) === 0) return;
    throw new CroupierError('trust.link-forked', `${file} holds another trust bundle ${bundle.version}`);
  }
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writePrivateFile(file, bundle.der);
  await makeDurable(directory);
}

/** The links kept after version `held`, DER, ascending. Nothing is verified. */
async function keptAfter(directory: string, held: TrustVersion): Promise<readonly Uint8Array[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  const later = names.filter((name) => Number(LINK_FILE.exec(name)?.[1] ?? 0) > held).sort();
  const links: Uint8Array[] = [];
  for (const name of later) {
    const file = path.join(directory, name);
    if ((await stat(file)).size > MAX_MESSAGE_BYTES)
      throw new CroupierError('input.too-large', `${file} is too large for a trust bundle`);
    links.push(await readFile(file));
  }
  return links;
}

async function keepAll(directory: string, store: Pick<Store, 'trustLinks'>): Promise<void> {
  for (let from = TrustVersion.parse(0); ;) {
    const page = await store.trustLinks(from, PAGE);
    for (const bundle of page) await keepTrustLink(directory, bundle);
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    from = last.version;
  }
}

/**
 * At start: takes in what the files have beyond the database, then writes the files that are missing. What does not
 * follow is left where it is and told; the gateway runs without it, as devices at least are not harmed by that.
 */
export async function reconcileTrustLinks(
  directory: string,
  ports: TrustImportPorts & { readonly store: Pick<Store, 'trustLinks'>; readonly log: Log },
): Promise<void> {
  const { store, log } = ports;
  const tell = (what: string, error: unknown): void =>
    log.error({ code: errorCode(error) }, `${what}: ${errorMessage(error)}; see docs/restore.md`);
  try {
    const latest = (await store.latestTrustBundle())?.version ?? TrustVersion.parse(0);
    const kept = await keptAfter(directory, latest);
    if (kept.length > 0) {
      const imported = await importTrustLinks(ports, kept, { type: 'gateway', id: 'trust-links' });
      log.warn(
        { from: latest, imported },
        `the database lacked trust bundles that ${directory} holds; they are taken in`,
      );
    }
  } catch (error) {
    tell(`trust bundles of ${directory} not taken in`, error);
  }
  await keepAll(directory, store).catch((error: unknown) => tell(`trust bundles not kept in ${directory}`, error));
}
