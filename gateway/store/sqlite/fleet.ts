/** Inventory, devices as operators see them, containment, tickets. */
import { and, asc, count, desc, eq, gt, sql } from 'drizzle-orm';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { KeyVersionNumber, TrustVersion, type DeviceId } from '#schema/ids.ts';
import type { InventoryRow } from '#schema/inventory.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import {
  certificates,
  deviceKeyVersions,
  devices,
  deviceSync,
  rollouts,
  rolloutTargets,
  tickets,
} from '#schema/tables.ts';
import type { DeviceDetail, DeviceFilter, DeviceSummary, FleetStore } from '#gateway/ports/store/fleet.ts';
import type { DeviceRecord } from '#gateway/ports/store/records.ts';
import { changeDeviceState, deviceExists, historyResetter, revokeCertificates } from './containment.ts';
import { certificateRecord, deviceKeyVersion, deviceRecord, Instant, optional, reader, syncRecord } from './rows.ts';
import { rolloutTarget } from './rollout-rows.ts';
import type { StoreContext } from './transaction.ts';

const presence = reader(
  z.object({ connected: z.boolean(), lastSeenAt: optional(Instant), trustVersion: TrustVersion }),
  'device_sync',
);
const versionCount = reader(
  z.object({ version: KeyVersionNumber, state: z.string(), devices: z.int() }),
  'device_key_versions',
);

/** A device that was imported and has not been heard of. */
const UNHEARD = {
  connected: false,
  seq: 0,
  lastSeq: 0,
  counter: 0,
  nonceAnswered: false,
  clockTrusted: false,
  boots: '[]',
  trustVersion: 0,
  attempts: 0,
} as const;

export function fleetStore({ db, statements, transactions }: StoreContext): FleetStore {
  const insertDevice = statements.change(
    db
      .insert(devices)
      .values({
        id: sql.placeholder('id'),
        class: sql.placeholder('class'),
        site: sql.placeholder('site'),
        serialNumber: sql.placeholder('serial'),
        labels: sql.placeholder('labels'),
        state: 'registered',
        stateSince: sql.placeholder('at'),
        createdAt: sql.placeholder('at'),
      })
      .onConflictDoNothing(),
  );
  const insertSync = statements.change(db.insert(deviceSync).values({ device: sql.placeholder('id'), ...UNHEARD }));

  const resetHistory = historyResetter({ db, statements });

  const addDevice = (row: InventoryRow, at: Date): void => {
    const values = { id: row.id, class: row.class, site: row.site, serial: row.serial };
    const added = insertDevice({ ...values, labels: canonicalJson(row.labels), at: at.getTime() });
    if (added === 0) {
      throw new CroupierError('device.exists', `Device ${row.id} exists already; nothing was imported`, {
        detail: { device: row.id },
      });
    }
    insertSync({ id: row.id });
  };

  const find = (id: DeviceId): DeviceRecord | undefined => {
    const row = db.select().from(devices).where(eq(devices.id, id)).get();
    return row === undefined ? undefined : deviceRecord(row);
  };

  const detail = (id: DeviceId): DeviceDetail | undefined => {
    const row = db
      .select()
      .from(devices)
      .innerJoin(deviceSync, eq(deviceSync.device, devices.id))
      .where(eq(devices.id, id))
      .get();
    if (row === undefined) return undefined;
    return {
      device: deviceRecord(row.devices),
      sync: syncRecord(row.device_sync),
      versions: db
        .select()
        .from(deviceKeyVersions)
        .where(eq(deviceKeyVersions.device, id))
        .orderBy(asc(deviceKeyVersions.keySet), asc(deviceKeyVersions.version))
        .all()
        .map(deviceKeyVersion),
      certificates: db
        .select()
        .from(certificates)
        .where(eq(certificates.device, id))
        .orderBy(desc(certificates.createdAt))
        .all()
        .map(certificateRecord),
      // A cross join keeps the order of the tables: the few rollouts first, then one look-up by primary key each.
      targets: db
        .select()
        .from(rollouts)
        .crossJoin(rolloutTargets)
        .where(and(eq(rolloutTargets.rollout, rollouts.id), eq(rolloutTargets.device, id)))
        .orderBy(desc(rollouts.createdAt))
        .all()
        .map((row) => rolloutTarget(row.rollout_targets)),
    };
  };

  const list = (filter: DeviceFilter): readonly DeviceSummary[] =>
    db
      .select()
      .from(devices)
      .innerJoin(deviceSync, eq(deviceSync.device, devices.id))
      .where(
        and(
          filter.class === undefined ? undefined : eq(devices.class, filter.class),
          filter.site === undefined ? undefined : eq(devices.site, filter.site),
          filter.state === undefined ? undefined : eq(devices.state, filter.state),
          filter.connected === undefined ? undefined : eq(deviceSync.connected, filter.connected),
          filter.after === undefined ? undefined : gt(devices.id, filter.after),
        ),
      )
      .orderBy(asc(devices.id))
      .limit(filter.limit)
      .all()
      .map((row) => ({ device: deviceRecord(row.devices), ...presence(row.device_sync) }));

  return {
    async importDevices(rows, at, audit) {
      await transactions.write((journal) => {
        for (const row of rows) addDevice(row, at);
        journal([audit], at);
      });
    },

    async device(id) {
      return transactions.read(() => detail(id));
    },

    async deviceRecord(id) {
      return transactions.read(() => find(id));
    },

    async devices(filter) {
      return transactions.read(() => list(filter));
    },

    async deviceCounts() {
      return transactions.read(() => {
        const states = db.select({ state: devices.state, devices: count() }).from(devices).groupBy(devices.state).all();
        const connected = db.select({ devices: count() }).from(deviceSync).where(eq(deviceSync.connected, true)).get();
        return {
          total: states.reduce((sum, row) => sum + row.devices, 0),
          connected: connected?.devices ?? 0,
          byState: Object.fromEntries(states.map((row) => [row.state, row.devices])),
        };
      });
    },

    async decideDevice(id, at, decide) {
      return transactions.write((journal) => {
        const device = find(id);
        const outcome = decide(device);
        if (outcome.kind === 'change') {
          if (device === undefined) throw new CroupierError('device.not-found', `There is no device ${id}`);
          changeDeviceState(db, device, outcome.state, at);
          if (outcome.resetHistory) resetHistory(id, at);
          if (outcome.revokeCertificates !== undefined) revokeCertificates(db, id, outcome.revokeCertificates, at);
        }
        journal(outcome.audit, at);
        return outcome;
      });
    },

    async addTicket(ticket, audit) {
      await transactions.write((journal) => {
        if (!deviceExists(db, ticket.device))
          throw new CroupierError('device.not-found', `There is no device ${ticket.device}`);
        db.insert(tickets)
          .values({
            id: ticket.id,
            device: ticket.device,
            salt: ticket.salt,
            codeHash: ticket.codeHash,
            createdAt: ticket.createdAt.getTime(),
            createdBy: ticket.createdBy,
            expiresAt: ticket.expiresAt.getTime(),
          })
          .run();
        journal([audit], ticket.createdAt);
      });
    },

    async versionCounts(keySet) {
      return transactions.read(() =>
        db
          .select({ version: deviceKeyVersions.version, state: deviceKeyVersions.state, devices: count() })
          .from(deviceKeyVersions)
          .where(eq(deviceKeyVersions.keySet, keySet))
          .groupBy(deviceKeyVersions.version, deviceKeyVersions.state)
          .all()
          .map(versionCount),
      );
    },
  };
}
