/** Counts over the targets of a rollout. Each is one pass over an index, so that 50,000 targets take milliseconds. */
import { sql, type SQL } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { z } from 'zod';
import { deviceKeyVersions, devices, deviceSync, rolloutTargets } from '#schema/tables.ts';
import type { RolloutProgress } from '#gateway/ports/store/keys.ts';
import type { DeviceKeyVersion, RolloutRecord, RolloutState, TargetState } from '#gateway/ports/store/records.ts';
import { reader, TargetStateColumn } from './rows.ts';

/** The path of a target that meets no obstacle. */
const PATH = [
  'pending',
  'offered',
  'stored',
  'active',
  'old-retired',
  'old-destroyed',
] as const satisfies readonly TargetState[];

/** What a rollout of each state wants of its targets now. */
const GOAL: Readonly<Record<RolloutState, (typeof PATH)[number]>> = {
  distributing: 'stored',
  ready: 'stored',
  active: 'active',
  retiring: 'old-retired',
  retired: 'old-retired',
  destroying: 'old-destroyed',
  destroyed: 'old-destroyed',
};

/** Nothing was answered yet, so the rollout waits for the target while it is reachable. */
const AWAITED: readonly TargetState[] = ['pending', 'offered'];
const UNSTORED: readonly TargetState[] = [...AWAITED, 'stalled', 'refused'];
const HELD: readonly DeviceKeyVersion['state'][] = ['offered', 'stored', 'active', 'retired'];
/** A device that was given a version may use it by now, whatever it reported last, unless it has proved to be beyond it. */
const USABLE: readonly DeviceKeyVersion['state'][] = ['offered', 'stored', 'active'];

const targetCount = reader(z.object({ state: TargetStateColumn, total: z.int(), online: z.int() }), 'rollout_targets');
const counted = reader(z.object({ devices: z.int() }), 'device_key_versions');

const list = (values: readonly string[]) =>
  sql.join(
    values.map((value) => sql`${value}`),
    sql`, `,
  );

/** Progress of a rollout that does not exist. */
export const NO_PROGRESS: RolloutProgress = {
  byState: {},
  total: 0,
  reachableUnstored: 0,
  servicesUnstored: 0,
  offlineBehind: 0,
  oldInUse: 0,
  oldHeld: 0,
};

export function rolloutProgress(db: BetterSQLite3Database, rollout: RolloutRecord): RolloutProgress {
  const counts = db
    .all(
      sql`select ${rolloutTargets.state} as state, count(*) as total, count(online.device) as online
        from ${rolloutTargets} left join ${deviceSync} as online indexed by device_sync_connected
          on online.connected = 1 and online.device = ${rolloutTargets.device}
        where ${rolloutTargets.rollout} = ${rollout.id} group by ${rolloutTargets.state}`,
    )
    .map(targetCount);
  const behind: ReadonlySet<TargetState> = new Set([...PATH.slice(0, PATH.indexOf(GOAL[rollout.state])), 'stalled']);
  const sum = (of: (count: { state: TargetState; total: number; online: number }) => number): number =>
    counts.reduce((total, count) => total + of(count), 0);
  return {
    byState: Object.fromEntries(counts.map(({ state, total }) => [state, total])),
    total: sum(({ total }) => total),
    reachableUnstored: sum(({ state, online }) => (AWAITED.includes(state) ? online : 0)),
    servicesUnstored: servicesUnstored(db, rollout),
    offlineBehind: sum(({ state, total, online }) => (behind.has(state) ? total - online : 0)),
    oldInUse: devicesWith(db, rollout, USABLE, isBeyond),
    oldHeld: devicesWith(db, rollout, HELD),
  };
}

/** Services are few: from them to their targets, which `cross join` makes the order of SQLite, too. */
function servicesUnstored(db: BetterSQLite3Database, rollout: RolloutRecord): number {
  const row = db.get(
    sql`select count(*) as devices from ${devices} cross join ${rolloutTargets}
      on ${rolloutTargets.rollout} = ${rollout.id} and ${rolloutTargets.device} = ${devices.id}
      where ${devices.class} = 'service' and ${rolloutTargets.state} in (${list(UNSTORED)})`,
  );
  return counted(row).devices;
}

/** The device has proved to use a newer version: it never goes back. */
const isBeyond = sql`exists (select 1 from ${deviceKeyVersions} as newer where newer.device = ${deviceKeyVersions.device}
  and newer.key_set = ${deviceKeyVersions.keySet} and newer.version > ${deviceKeyVersions.version} and newer.state = 'active')`;

/** Devices that have the old version in one of `states`: all of them but for `excepted`, less the few that are contained. */
function devicesWith(
  db: BetterSQLite3Database,
  rollout: RolloutRecord,
  states: readonly string[],
  excepted: SQL = sql`false`,
): number {
  const old = sql`${deviceKeyVersions.keySet} = ${rollout.keySet} and ${deviceKeyVersions.version} = ${rollout.fromVersion}
    and ${deviceKeyVersions.state} in (${list(states)}) and not ${excepted}`;
  const all = db.get(sql`select count(*) as devices from ${deviceKeyVersions} where ${old}`);
  const contained = db.get(
    sql`select count(*) as devices from ${devices} cross join ${deviceKeyVersions} on ${deviceKeyVersions.device} = ${devices.id}
      where ${devices.state} in ('quarantined', 'revoked') and ${old}`,
  );
  return counted(all).devices - counted(contained).devices;
}
