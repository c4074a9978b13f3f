/** Selectors as SQL, and due marks set by them. A quarantined or revoked device is never due. */
import { and, eq, gt, inArray, isNull, or, sql, type SQL } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { Selector } from '#schema/policy.ts';
import { devices, deviceSync } from '#schema/tables.ts';
import type { StoreContext } from './transaction.ts';

/** States of devices that take part. */
export const SERVED = ['registered', 'enrolled'] as const;

/** The condition on `devices` that `selects` (schema/policy.ts) decides; undefined when all match. */
export function selectorCondition(selector: Selector): SQL | undefined {
  const labels = Object.entries(selector.labels ?? {}).map(
    ([key, value]) =>
      sql`exists (select 1 from json_each(${devices.labels}) as label where label.key = ${key} and label.atom = ${value})`,
  );
  return and(
    selector.class === undefined ? undefined : inArray(devices.class, selector.class),
    selector.site === undefined ? undefined : inArray(devices.site, selector.site),
    ...labels,
  );
}

/** Makes the devices that `condition` on `devices` names due at `at`, or earlier where they were. */
export function raiseDue(db: BetterSQLite3Database, condition: SQL | undefined, at: Date): void {
  const chosen = db
    .select({ id: devices.id })
    .from(devices)
    .where(and(inArray(devices.state, [...SERVED]), condition));
  const isLater = or(isNull(deviceSync.dueAt), gt(deviceSync.dueAt, at.getTime()));
  db.update(deviceSync)
    .set({ dueAt: at.getTime() })
    .where(and(inArray(deviceSync.device, chosen), isLater))
    .run();
}

/** As `raiseDue`, prepared, for one device. */
export function dueRaiser({
  db,
  statements,
}: Pick<StoreContext, 'db' | 'statements'>): (device: string, at: Date) => void {
  const served = db
    .select({ id: devices.id })
    .from(devices)
    .where(and(eq(devices.id, deviceSync.device), inArray(devices.state, [...SERVED])));
  const raise = statements.change(
    db
      .update(deviceSync)
      .set({ dueAt: sql`min(coalesce(${deviceSync.dueAt}, ${sql.placeholder('at')}), ${sql.placeholder('at')})` })
      .where(and(eq(deviceSync.device, sql.placeholder('device')), sql`exists ${served}`)),
  );
  return (device, at) => void raise({ device, at: at.getTime() });
}
