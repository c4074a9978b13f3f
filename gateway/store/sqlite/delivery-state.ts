/** What delivery decides on, loaded with prepared statements: one look-up per device and table. */
import { and, asc, eq, lte, sql } from 'drizzle-orm';
import type { TrustVersion } from '#schema/ids.ts';
import { selects } from '#schema/policy.ts';
import { certificates, deviceKeyVersions, devices, deviceSync, rolloutTargets, updates } from '#schema/tables.ts';
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import type { DeviceRecord, KeySetRecord, RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import { keySetQueries } from './key-sets.ts';
import { rolloutQueries } from './rollout-queries.ts';
import { rolloutTarget } from './rollout-rows.ts';
import { certificateRecord, deviceKeyVersion, deviceRecord, syncRecord } from './rows.ts';
import { layout, type Row } from './statement.ts';
import type { StoreContext } from './transaction.ts';
import { trustChain } from './trust-chain.ts';

/** The few rows that concern every device: read once in each transaction. */
export interface Standing {
  readonly keySets: readonly KeySetRecord[];
  /** Rollouts of every kind that have not ended, oldest first. */
  readonly open: readonly RolloutRecord[];
  readonly trustReleased: TrustVersion;
  readonly trustLatest: TrustVersion;
}

export interface DeliveryQueries {
  standing(): Standing;
  state(device: string, standing: Standing): DeliveryState | undefined;
  /** States of connected devices that are due, the longest waiting first. */
  due(limit: number, now: Date, standing: Standing): readonly DeliveryState[];
  target(rollout: string, device: string): RolloutTarget | undefined;
}

type Prepared = Pick<StoreContext, 'db' | 'statements'>;

export function deliveryQueries(context: Prepared): DeliveryQueries {
  const { db, statements } = context;
  const keySetsOf = keySetQueries(context);
  const rolloutsOf = rolloutQueries(context);
  const chain = trustChain(context);
  const versions = statements.all(
    db
      .select()
      .from(deviceKeyVersions)
      .where(eq(deviceKeyVersions.device, sql.placeholder('device')))
      .orderBy(asc(deviceKeyVersions.keySet), asc(deviceKeyVersions.version)),
    (row) => deviceKeyVersion(versionRow(row)),
  );
  const targetOf = statements.first(
    db
      .select()
      .from(rolloutTargets)
      .where(
        and(
          eq(rolloutTargets.rollout, sql.placeholder('rollout')),
          eq(rolloutTargets.device, sql.placeholder('device')),
        ),
      ),
    (row) => rolloutTarget(targetRow(row)),
  );
  const sent = statements.first(
    db
      .select({ seq: updates.seq })
      .from(updates)
      .where(and(eq(updates.device, sql.placeholder('device')), eq(updates.seq, sql.placeholder('seq')))),
    ([seq]) => seq,
  );
  const known = knownDevices(context);

  const stateOf = ({ device, sync, identity }: Known, standing: Standing): DeliveryState => {
    const keySets = standing.keySets.filter(({ selector }) => selects(selector, device));
    return {
      device,
      sync,
      versions: versions({ device: device.id }),
      keySets,
      rollouts: standing.open
        .filter((rollout) => concerns(rollout, device, keySets))
        .map((rollout) => ({ rollout, target: targetOf({ rollout: rollout.id, device: device.id }) })),
      trustReleased: standing.trustReleased,
      identity,
      memory: {
        sent: (seq) => sent({ device: device.id, seq }) !== undefined,
        published: (version) => version <= standing.trustLatest,
      },
    };
  };

  return {
    standing() {
      return {
        keySets: keySetsOf.all(),
        open: rolloutsOf.open(),
        trustReleased: chain.releasedVersion(),
        trustLatest: chain.latestVersion(),
      };
    },
    state(device, standing) {
      const found = known.one({ device });
      return found === undefined ? undefined : stateOf(found, standing);
    },
    due(limit, now, standing) {
      return known.due({ limit, now: now.getTime() }).map((found) => stateOf(found, standing));
    },
    target(rollout, device) {
      return targetOf({ rollout, device });
    },
  };
}

function concerns(rollout: RolloutRecord, device: DeviceRecord, keySets: readonly KeySetRecord[]): boolean {
  switch (rollout.kind) {
    case 'key-version':
      return keySets.some(({ name }) => name === rollout.keySet);
    case 'trust-bundle':
      return true;
    case 're-enrolment':
      return selects(rollout.campaign.selector, device);
  }
}

type Known = Pick<DeliveryState, 'device' | 'sync' | 'identity'>;

const [versionRow] = layout(deviceKeyVersions);
const [targetRow] = layout(rolloutTargets);
const [syncRow, deviceRow, certificateRow] = layout(deviceSync, devices, certificates);

/** Devices with what they proved last and the certificate in their current slot, as long as that is issued. */
function knownDevices({ db, statements }: Prepared) {
  const known = () =>
    db
      .select()
      .from(deviceSync)
      .innerJoin(devices, eq(devices.id, deviceSync.device))
      .leftJoin(certificates, and(eq(certificates.serial, devices.currentSerial), eq(certificates.state, 'issued')));
  const read = (row: Row): Known => {
    const certificate = certificateRow(row);
    return {
      device: deviceRecord(deviceRow(row)),
      sync: syncRecord(syncRow(row)),
      identity: certificate['serial'] === null ? undefined : certificateRecord(certificate),
    };
  };
  return {
    one: statements.first(known().where(eq(deviceSync.device, sql.placeholder('device'))), read),
    due: statements.all(
      known()
        .where(and(eq(deviceSync.connected, true), lte(deviceSync.dueAt, sql.placeholder('now'))))
        .orderBy(asc(deviceSync.dueAt))
        .limit(sql.placeholder('limit')),
      read,
    ),
  };
}
