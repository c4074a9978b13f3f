/**
 * Taking in trust bundles that the gateway has lost with its database and that others still hold: a device, a medium, its
 * own files. Each is verified by the one before, as devices do; nobody's word counts.
 */
import { createHash } from 'node:crypto';
import { parseSignedData } from '#pki/cms/verify.ts';
import { verifyTrustLink, type TrustLink } from '#pki/cms/trust-link.ts';
import type { AuditActor } from '#schema/audit.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import { Sha256, type TrustVersion } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { TrustBundle } from '#schema/messages/trust-bundle.ts';
import { parseJson } from '#schema/parse.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Command } from '#gateway/operators/command.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { TrustStore } from '#gateway/ports/store/trust.ts';
import type { AuditStore } from '#gateway/ports/store/audit.ts';

export interface TrustImportPorts {
  readonly store: Pick<TrustStore, 'latestTrustBundle' | 'trustBundle' | 'appendTrustBundle'> &
    Pick<AuditStore, 'appendAudit'>;
  readonly clock: Clock;
  /** Keeps a link that was taken in, then tells who has to know. */
  readonly onImported: (bundle: TrustBundleRecord) => Promise<void>;
}

const LIMITS = { maxBytes: MAX_MESSAGE_BYTES, maxSigners: 4 };

/** Reads a bundle, CMS DER. Nothing is verified. Errors: `input.too-large`, `message.malformed`. */
export function readTrustBundle(der: Uint8Array): TrustBundleRecord {
  const { content } = parseSignedData(der, LIMITS);
  const body = parseJson(TrustBundle, Buffer.from(content).toString('utf8'), 'message.malformed', 'trust bundle');
  return { version: body.version, der, sha256: Sha256.parse(createHash('sha256').update(der).digest('hex')), body };
}

const certificates = (list: readonly string[]): Uint8Array[] => list.map((text) => Buffer.from(text, 'base64'));

function asLink({ der, sha256, body }: TrustBundleRecord): TrustLink {
  const { realm, version, previous, issuedAt, anchors, messageSigners } = body;
  return {
    der,
    digest: sha256,
    realm,
    version,
    previous,
    issuedAt: new Date(issuedAt),
    messageAnchors: certificates(anchors.messages),
    pinnedSpkiSha256: messageSigners.map(({ spkiSha256 }) => spkiSha256),
  };
}

/**
 * Which of `links` the chain lacks, in order; each has been verified by the one before it. Those that the chain holds are
 * passed over. Errors: `trust.not-found` for a realm without any bundle, `trust.link-forked`, `trust.link-missing`,
 * `message.*`, `certificate.*`.
 */
export async function missingLinks(
  store: Pick<TrustStore, 'latestTrustBundle' | 'trustBundle'>,
  links: readonly Uint8Array[],
): Promise<readonly TrustBundleRecord[]> {
  const latest = await store.latestTrustBundle();
  if (latest === undefined) throw new CroupierError('trust.not-found', 'the realm has no trust bundle to begin with');
  const missing: TrustBundleRecord[] = [];
  for (const link of links.map(readTrustBundle).toSorted((a, b) => a.version - b.version)) {
    const held = missing.at(-1) ?? latest;
    const same = link.version > held.version ? undefined : await store.trustBundle(link.version);
    const known = same ?? missing.find(({ version }) => version === link.version);
    if (known?.sha256 === link.sha256) continue;
    if (known !== undefined)
      throw new CroupierError('trust.link-forked', `another trust bundle ${link.version} than the one held`);
    verifyTrustLink(asLink(held), asLink(link), LIMITS);
    missing.push(link);
  }
  return missing;
}

/**
 * Appends what the chain lacks, all of it or nothing; resolves with the versions taken in. Devices that are behind become
 * due. A refusal is on record. Errors: those of `missingLinks`.
 */
export async function importTrustLinks(
  ports: TrustImportPorts,
  links: readonly Uint8Array[],
  actor: AuditActor,
): Promise<readonly TrustVersion[]> {
  const { store, clock } = ports;
  let missing: readonly TrustBundleRecord[];
  try {
    missing = await missingLinks(store, links);
  } catch (error) {
    await store.appendAudit(
      [{ action: 'trust.import', outcome: 'denied', code: errorCode(error), actor }],
      clock.now(),
    );
    throw error;
  }
  for (const bundle of missing) {
    await store.appendTrustBundle(bundle, clock.now(), {
      action: 'trust.import',
      outcome: 'success',
      actor,
      object: { type: 'trust-bundle', id: String(bundle.version) },
      details: { sha256: bundle.sha256, issuedAt: bundle.body.issuedAt, purposes: Object.keys(bundle.body.anchors) },
    });
    await ports.onImported(bundle);
  }
  return missing.map(({ version }) => version);
}

export function trustImportCommand(ports: TrustImportPorts): Command<'trust.import'> {
  return {
    summary: ({ links }) => `take in ${links.length} trust bundles that the gateway may have lost`,
    execute: async ({ links }, { actor }) => {
      const imported = await importTrustLinks(ports, certificates(links), actor);
      return { imported: [...imported], latest: (await ports.store.latestTrustBundle())?.version ?? null };
    },
  };
}
