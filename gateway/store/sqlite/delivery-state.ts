/** What delivery decides on, loaded with prepared statements: one look-up per device and table. */
import { and, asc, desc, eq, lte, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { TrustVersion } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { selects } from '#schema/policy.ts';
import { certificates, deviceKeyVersions, devices, deviceSync, rolloutTargets, trustBundles } from '#schema/tables.ts';
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import type { KeySetRecord, RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import { keySetQueries } from './key-sets.ts';
import { certificateRecord, deviceKeyVersion, deviceRecord, rolloutTarget, syncRecord } from './rows.ts';

/** The few rows that concern every device: read once in each transaction. */
export interface Standing {
  readonly keySets: readonly KeySetRecord[];
  readonly open: readonly RolloutRecord[];
  readonly trustLatest: TrustVersion;
}

export interface DeliveryQueries {
  standing(): Standing;
  state(device: string, standing: Standing): DeliveryState | undefined;
  /** States of connected devices that are due, the longest waiting first. */
  due(limit: number, now: Date, standing: Standing): Iterable<DeliveryState>;
  target(rollout: string, device: string): RolloutTarget | undefined;
}

export function deliveryQueries(db: BetterSQLite3Database): DeliveryQueries {
  const fewRows = keySetQueries(db);
  const latestTrust = db
    .select({ version: trustBundles.version })
    .from(trustBundles)
    .orderBy(desc(trustBundles.version))
    .limit(1)
    .prepare();
  /** A device, what it proved last, and the certificate in its current slot as long as that is issued. */
  const known = () =>
    db
      .select()
      .from(deviceSync)
      .innerJoin(devices, eq(devices.id, deviceSync.device))
      .leftJoin(certificates, and(eq(certificates.serial, devices.currentSerial), eq(certificates.state, 'issued')));
  const one = known()
    .where(eq(deviceSync.device, sql.placeholder('device')))
    .prepare();
  const due = known()
    .where(and(eq(deviceSync.connected, true), lte(deviceSync.dueAt, sql.placeholder('now'))))
    .orderBy(asc(deviceSync.dueAt))
    .limit(sql.placeholder('limit'))
    .prepare();
  const versions = db
    .select()
    .from(deviceKeyVersions)
    .where(eq(deviceKeyVersions.device, sql.placeholder('device')))
    .orderBy(asc(deviceKeyVersions.keySet), asc(deviceKeyVersions.version))
    .prepare();
  const targetRow = db
    .select()
    .from(rolloutTargets)
    .where(
      and(eq(rolloutTargets.rollout, sql.placeholder('rollout')), eq(rolloutTargets.device, sql.placeholder('device'))),
    )
    .prepare();

  const target = (rollout: string, device: string): RolloutTarget | undefined => {
    const row = targetRow.get({ rollout, device });
    return row === undefined ? undefined : rolloutTarget(row);
  };

  const stateOf = (row: NonNullable<ReturnType<typeof one.get>>, standing: Standing): DeliveryState => {
    const device = deviceRecord(row.devices);
    const keySets = standing.keySets.filter(({ selector }) => selects(selector, device));
    return {
      device,
      sync: syncRecord(row.device_sync),
      versions: versions.all({ device: device.id }).map(deviceKeyVersion),
      keySets,
      rollouts: standing.open
        .filter((rollout) => keySets.some(({ name }) => name === rollout.keySet))
        .map((rollout) => ({ rollout, target: target(rollout.id, device.id) })),
      trustLatest: standing.trustLatest,
      identity: row.certificates === null ? undefined : certificateRecord(row.certificates),
    };
  };

  return {
    standing() {
      const trustLatest = parseWith(
        TrustVersion,
        latestTrust.get()?.version ?? 0,
        'store.corrupt',
        'Row of trust_bundles',
      );
      return { keySets: fewRows.all(), open: fewRows.open(), trustLatest };
    },
    state(device, standing) {
      const row = one.get({ device });
      return row === undefined ? undefined : stateOf(row, standing);
    },
    due(limit, now, standing) {
      return due.all({ limit, now: now.getTime() }).map((row) => stateOf(row, standing));
    },
    target,
  };
}
