/** What follows a change of trust: bundles that are announced, listeners that change their certificates, files for people. */
import path from 'node:path';
import { encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { CroupierError } from '#schema/errors.ts';
import { writePublicFile } from '../installation/data-directory.ts';
import { keepTrustLink, reconcileTrustLinks } from '../installation/trust-links.ts';
import type { AuthorityRecord, TrustBundleRecord } from '../ports/store/records.ts';
import type { TrustImportPorts } from '../trust/import.ts';
import { authoritiesIn, isCertified } from '../trust/lineage.ts';
import { isUpToDate, publishNextBundle, type NextBundlePorts } from '../trust/publish.ts';
import type { Floor } from './floor.ts';
import type { Foundation } from './foundation.ts';

/** Everything that publishing the next trust bundle needs and wakes. */
export function nextBundlePorts(
  { data, config, store, authorities, policy, feed, clock, random }: Foundation,
  { announceReleased, dispatcher, rollouts }: Floor,
): NextBundlePorts & { readonly onPublished: (bundle: TrustBundleRecord) => void } {
  const { realm } = config;
  return {
    keep: (bundle) => keepTrustLink(data.trustLinks, bundle),
    realm,
    store,
    clock,
    random,
    policy: policy.get,
    authorities: authorities.get,
    onPublished: (bundle) => {
      feed.publish({ type: 'trust', version: bundle.version });
      announceReleased();
      dispatcher.ring();
      rollouts.ring();
    },
  };
}

/** As what is published: kept, and made known. */
export function trustImportPorts(foundation: Foundation, floor: Floor): TrustImportPorts {
  const { store, clock } = foundation;
  const { keep, onPublished } = nextBundlePorts(foundation, floor);
  return {
    store,
    clock,
    onImported: async (bundle) => {
      await keep?.(bundle);
      onPublished(bundle);
    },
  };
}

/** At start, when nobody is there yet to be told. */
export function takeInTrustLinks({ data, store, clock, log }: Foundation): Promise<void> {
  return reconcileTrustLinks(data.trustLinks, { store, clock, log, onImported: async () => undefined });
}

/** A realm's certificate in the bundle of which the gateway has no record: it was restored to a time before. */
function isForeign(latest: TrustBundleRecord, records: readonly AuthorityRecord[]): boolean {
  const { identity, transport, messages } = latest.body.anchors;
  const known = new Set(
    records.filter(isCertified).map(({ certificate }) => Buffer.from(certificate).toString('base64')),
  );
  return [...identity, ...transport, ...messages].some((der) => !known.has(der));
}

/** A change of authorities that was committed before a crash, and not published, is published now. */
export async function publishIfBehind(ports: NextBundlePorts): Promise<void> {
  const latest = await ports.store.latestTrustBundle();
  if (latest === undefined || isUpToDate(latest, ports.authorities())) return;
  if (isForeign(latest, await ports.store.authorities())) {
    throw new CroupierError(
      'authority.not-found',
      `trust bundle ${latest.version} names authorities that the database has no record of: it was restored to a time before them; nothing is published by itself, see docs/restore.md`,
    );
  }
  await publishNextBundle(ports, { actor: { type: 'gateway', id: 'main' }, approval: undefined });
}

/**
 * `ca/<role>.pem` of the data directory: what is trusted, the current one first; for roots, the one above TLS first. The
 * root of the audit trail has a file of its own, since it stays when TLS trusts it no more.
 */
export async function writeCaFiles({ data, store, authorities }: Foundation): Promise<void> {
  const records = (await store.authorities()).filter(isCertified);
  for (const role of new Set(records.map((record) => record.role))) {
    const trusted = authoritiesIn(records, role).map(({ certificate }) => certificate);
    const { root } = authorities.get();
    const first = trusted.filter((der) => role === 'root' && Buffer.compare(der, root) === 0);
    const others = trusted.filter((der) => !first.includes(der));
    await writePublicFile(path.join(data.ca, `${role}.pem`), encodePemAll('CERTIFICATE', [...first, ...others]));
  }
  await writePublicFile(data.auditRoot, encodePem('CERTIFICATE', authorities.get().auditRoot));
}
