/** Authorities and trust bundles. */
import { asc, desc, eq, gt, sql } from 'drizzle-orm';
import { CroupierError } from '#schema/errors.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { authorities, trustBundles } from '#schema/tables.ts';
import type { TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { TrustStore } from '#gateway/ports/store/trust.ts';
import { raiseDue } from './due.ts';
import { authorityRecord, blob, trustBundleRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';

/** Why a bundle is not the next link of the chain. */
function forkedBy(bundle: TrustBundleRecord, latest: TrustBundleRecord | undefined): string | undefined {
  const expected = (latest?.version ?? 0) + 1;
  if (bundle.version !== expected) return `the next trust bundle is number ${expected}, not ${bundle.version}`;
  if (bundle.body.version !== bundle.version) return `the bundle calls itself number ${bundle.body.version}`;
  if (bundle.body.previous !== (latest?.sha256 ?? null))
    return `bundle ${bundle.version} does not name the digest of the latest one`;
  return undefined;
}

export function trustStore({ db, statements, transactions }: StoreContext): TrustStore {
  const [bundleRow] = layout(trustBundles);
  const bundle = (row: Row): TrustBundleRecord => trustBundleRecord(bundleRow(row));
  const latest = statements.first(db.select().from(trustBundles).orderBy(desc(trustBundles.version)), bundle);
  const numbered = statements.first(
    db
      .select()
      .from(trustBundles)
      .where(eq(trustBundles.version, sql.placeholder('version'))),
    bundle,
  );
  const after = statements.all(
    db
      .select()
      .from(trustBundles)
      .where(gt(trustBundles.version, sql.placeholder('from')))
      .orderBy(asc(trustBundles.version))
      .limit(sql.placeholder('limit')),
    bundle,
  );
  return {
    async authorities() {
      return transactions.read(() =>
        db.select().from(authorities).orderBy(authorities.role).all().map(authorityRecord),
      );
    },

    async authority(role) {
      return transactions.read(() => {
        const row = db.select().from(authorities).where(eq(authorities.role, role)).get();
        return row === undefined ? undefined : authorityRecord(row);
      });
    },

    async putAuthority({ role, keyLabel, certificate }, at, audit) {
      const row = { keyLabel, certificate: blob(certificate), createdAt: at.getTime() };
      await transactions.write((journal) => {
        db.insert(authorities)
          .values({ role, ...row })
          .onConflictDoUpdate({ target: authorities.role, set: row })
          .run();
        journal([audit], at);
      });
    },

    async latestTrustBundle() {
      return transactions.read(() => latest());
    },

    async trustBundle(version) {
      return transactions.read(() => numbered({ version }));
    },

    async trustLinks(from, limit) {
      return transactions.read(() => after({ from, limit }));
    },

    async appendTrustBundle(bundle, at, audit) {
      await transactions.write((journal) => {
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
        raiseDue(db, undefined, at);
        journal([audit], at);
      });
    },
  };
}
