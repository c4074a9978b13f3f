/** The chain of trust bundles: what the last link is, what every device should hold, and how the next one is added. */
import { desc, sql } from 'drizzle-orm';
import { CroupierError } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { rollouts, trustBundles } from '#schema/tables.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import { blob, trustBundleRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';

export interface TrustChain {
  latest(): TrustBundleRecord | undefined;
  /** Version of the latest bundle, 0 when there is none. */
  latestVersion(): TrustVersion;
  /**
   * The latest bundle that every device should hold: no rollout brings it to some first, or was aborted or superseded
   * before it had reached them.
   */
  releasedVersion(): TrustVersion;
  /** Errors: `trust.link-forked`. */
  append(bundle: TrustBundleRecord): void;
}

/** Why a bundle is not the next link of the chain. */
function forkedBy(bundle: TrustBundleRecord, latest: TrustBundleRecord | undefined): string | undefined {
  const expected = (latest?.version ?? 0) + 1;
  if (bundle.version !== expected) return `the next trust bundle is number ${expected}, not ${bundle.version}`;
  if (bundle.body.version !== bundle.version) return `the bundle calls itself number ${bundle.body.version}`;
  if (bundle.body.previous !== (latest?.sha256 ?? null))
    return `bundle ${bundle.version} does not name the digest of the latest one`;
  return undefined;
}

export function trustChain({ db, statements }: Pick<StoreContext, 'db' | 'statements'>): TrustChain {
  const [bundleRow] = layout(trustBundles);
  const number = ([value]: Row): TrustVersion =>
    parseWith(TrustVersion, value, 'store.corrupt', 'Row of trust_bundles');
  const latest = statements.first(db.select().from(trustBundles).orderBy(desc(trustBundles.version)), (row) =>
    trustBundleRecord(bundleRow(row)),
  );
  const versions = db.select({ version: trustBundles.version }).from(trustBundles);
  const latestVersion = statements.first(versions.orderBy(desc(trustBundles.version)), number);
  const releasedVersion = statements.first(
    db
      .select({ version: trustBundles.version })
      .from(trustBundles)
      .where(
        sql`not exists (select 1 from ${rollouts} where ${rollouts.kind} = 'trust-bundle'
          and (${rollouts.state} in ('approved', 'distributing', 'aborted')
            or (${rollouts.state} = 'superseded' and ${rollouts.activatedAt} is null))
          and ${rollouts.toVersion} = ${trustBundles.version})`,
      )
      .orderBy(desc(trustBundles.version)),
    number,
  );
  const none = TrustVersion.parse(0);
  return {
    latest: () => latest(),
    latestVersion: () => latestVersion() ?? none,
    releasedVersion: () => releasedVersion() ?? none,
    append(bundle) {
      const fault = forkedBy(bundle, latest());
      if (fault !== undefined) throw new CroupierError('trust.link-forked', `Trust bundle not added: ${fault}`);
      db.insert(trustBundles)
        .values({
          version: bundle.version,
          der: blob(bundle.der),
          sha256: bundle.sha256,
          body: canonicalJson(bundle.body),
          issuedAt: Date.parse(bundle.body.issuedAt),
          expiresAt: Date.parse(bundle.body.expiresAt),
        })
        .run();
    },
  };
}
