/** What follows a change of trust: bundles that are announced, listeners that change their certificates, files for people. */
import path from 'node:path';
import { encodePemAll } from '#pki/certificate/pem.ts';
import { writePublicFile } from '../installation/data-directory.ts';
import { authoritiesIn, isCertified } from '../trust/lineage.ts';
import { isUpToDate, publishNextBundle, type NextBundlePorts } from '../trust/publish.ts';
import type { Floor } from './floor.ts';
import type { Foundation } from './foundation.ts';

/** Everything that publishing the next trust bundle needs and wakes. */
export function nextBundlePorts(
  { config, store, authorities, policy, feed, clock, random }: Foundation,
  { announceReleased, dispatcher, rollouts }: Floor,
): NextBundlePorts {
  const { realm } = config;
  return {
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

/** A change of authorities that was committed before a crash, and not published, is published now. */
export async function publishIfBehind(ports: NextBundlePorts): Promise<void> {
  const latest = await ports.store.latestTrustBundle();
  if (latest === undefined || isUpToDate(latest, ports.authorities())) return;
  await publishNextBundle(ports, { actor: { type: 'gateway', id: 'main' }, approval: undefined });
}

/** `ca/<role>.pem` of the data directory: what is trusted, the current one first; for roots, the one above TLS first. */
export async function writeCaFiles({ data, store, authorities }: Foundation): Promise<void> {
  const records = (await store.authorities()).filter(isCertified);
  for (const role of new Set(records.map((record) => record.role))) {
    const trusted = authoritiesIn(records, role).map(({ certificate }) => certificate);
    const { root } = authorities.get();
    const first = trusted.filter((der) => role === 'root' && Buffer.compare(der, root) === 0);
    const others = trusted.filter((der) => !first.includes(der));
    await writePublicFile(path.join(data.ca, `${role}.pem`), encodePemAll('CERTIFICATE', [...first, ...others]));
  }
}
