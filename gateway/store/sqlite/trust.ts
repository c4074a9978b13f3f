/** Authorities and trust bundles. */
import { and, asc, count, desc, eq, gt, inArray, lt, sql } from 'drizzle-orm';
import { z } from 'zod';
import { DeviceId, TrustVersion } from '#schema/ids.ts';
import { authorities, certificates, devices, deviceSync, trustBundles } from '#schema/tables.ts';
import type { AuthorityRecord, TrustBundleRecord } from '#gateway/ports/store/records.ts';
import type { AuthorityFacts, DevicesAhead, DevicesBehind, TrustStore } from '#gateway/ports/store/trust.ts';
import { raiseDue } from './due.ts';
import { authorityRecord, blob, reader, trustBundleRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';
import { trustChain } from './trust-chain.ts';

const furthest = reader(z.object({ first: DeviceId, highest: TrustVersion, devices: z.int() }), 'device_sync');

export function trustStore(context: StoreContext): TrustStore {
  const { db, statements, transactions } = context;
  const chain = trustChain(context);
  const [bundleRow] = layout(trustBundles);
  const bundle = (row: Row): TrustBundleRecord => trustBundleRecord(bundleRow(row));
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
  const allAuthorities = (): readonly AuthorityRecord[] =>
    db
      .select()
      .from(authorities)
      .orderBy(authorities.role, authorities.createdAt, authorities.keyLabel)
      .all()
      .map(authorityRecord);

  const devicesUnder = (keyLabel: string): number =>
    db
      .select({ devices: count() })
      .from(devices)
      .innerJoin(certificates, eq(certificates.serial, sql`coalesce(${devices.currentSerial}, ${devices.nextSerial})`))
      .where(and(eq(certificates.issuer, keyLabel), inArray(devices.state, ['enrolled', 'quarantined'])))
      .get()?.devices ?? 0;

  const devicesBehind = (version: TrustVersion): DevicesBehind => {
    const rows = db
      .select({ connected: deviceSync.connected, devices: count() })
      .from(deviceSync)
      .innerJoin(devices, eq(devices.id, deviceSync.device))
      .where(and(lt(deviceSync.trustVersion, version), eq(devices.state, 'enrolled')))
      .groupBy(deviceSync.connected)
      .all();
    const of = (connected: boolean): number => rows.find((row) => row.connected === connected)?.devices ?? 0;
    return { connected: of(true), away: of(false) };
  };

  const devicesAhead = (version: TrustVersion): DevicesAhead | undefined => {
    const row = db
      .select({ first: deviceSync.device, highest: deviceSync.trustVersion, devices: sql`count(*) over ()` })
      .from(deviceSync)
      .innerJoin(devices, eq(devices.id, deviceSync.device))
      .where(and(gt(deviceSync.trustVersion, version), eq(devices.state, 'enrolled')))
      .orderBy(desc(deviceSync.trustVersion), asc(deviceSync.device))
      .limit(1)
      .get();
    return row === undefined ? undefined : furthest(row);
  };

  const put = ({ keyLabel, role, state, certificate, createdAt, changedAt }: AuthorityRecord): void => {
    const values = {
      role,
      state,
      certificate: certificate === undefined ? null : blob(certificate),
      createdAt: createdAt.getTime(),
      changedAt: changedAt.getTime(),
    };
    db.insert(authorities)
      .values({ keyLabel, ...values })
      .onConflictDoUpdate({ target: authorities.keyLabel, set: values })
      .run();
  };

  const facts = (): AuthorityFacts => ({
    records: allAuthorities(),
    releasedBundle: numbered({ version: chain.releasedVersion() }),
    devicesUnder,
    devicesBehind,
  });

  return {
    async authorities() {
      return transactions.read(allAuthorities);
    },

    async authority(role) {
      return transactions.read(() =>
        allAuthorities().find((candidate) => candidate.role === role && candidate.state === 'current'),
      );
    },

    async decideAuthorities(at, decide) {
      const decided = await transactions.write((journal) => {
        const outcome = decide(facts());
        if (outcome.kind === 'change') for (const authority of outcome.put) put(authority);
        journal(outcome.audit, at);
        return { outcome };
      });
      return decided.outcome;
    },

    async devicesUnder(keyLabel) {
      return transactions.read(() => devicesUnder(keyLabel));
    },

    async devicesBehind(version) {
      return transactions.read(() => devicesBehind(version));
    },

    async devicesAhead(version) {
      return transactions.read(() => devicesAhead(version));
    },

    async latestTrustBundle() {
      return transactions.read(() => chain.latest());
    },

    async releasedTrustVersion() {
      return transactions.read(() => chain.releasedVersion());
    },

    async trustBundle(version) {
      return transactions.read(() => numbered({ version }));
    },

    async trustLinks(from, limit) {
      return transactions.read(() => after({ from, limit }));
    },

    async appendTrustBundle(bundle, at, audit) {
      await transactions.write((journal) => {
        chain.append(bundle);
        raiseDue(db, undefined, at);
        journal([audit], at);
      });
    },
  };
}
