/** Alerts: raised while the trail is written, kept until somebody acknowledges them. */
import { and, count, desc, eq, isNotNull, isNull, lt, sql } from 'drizzle-orm';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { z } from 'zod';
import { ALERT_SEVERITIES, AlertSeverity, type AuditRecord } from '#schema/audit.ts';
import { CroupierError, ERROR_CODES } from '#schema/errors.ts';
import { alerts } from '#schema/tables.ts';
import { alertOf } from '#gateway/audit/alerts.ts';
import type { AlertRecord, AuditStore } from '#gateway/ports/store/audit.ts';
import { Instant, optional, reader } from './rows.ts';
import { layout, type Statements } from './statement.ts';
import type { StoreContext } from './transaction.ts';

const alertRecord: (row: unknown) => AlertRecord = reader(
  z.object({
    id: z.int(),
    subject: z.string(),
    code: z.enum(ERROR_CODES),
    severity: AlertSeverity,
    device: optional(z.string()),
    rollout: optional(z.string()),
    keySet: optional(z.string()),
    message: z.string(),
    firstSeq: z.int(),
    lastSeq: z.int(),
    occurrences: z.int(),
    raisedAt: Instant,
    lastAt: Instant,
    acknowledgedAt: optional(Instant),
    acknowledgedBy: optional(z.string()),
  }),
  'alerts',
);
const [alertRow] = layout(alerts);

const isOpen = isNull(alerts.acknowledgedAt);

/** Notes the alert of a record in the transaction that writes the record. Returns it if it was not open before. */
export function alertNote(
  db: BetterSQLite3Database,
  statements: Statements,
): (record: AuditRecord, at: Date) => AlertRecord | undefined {
  const raise = statements.first(
    db
      .insert(alerts)
      .values({
        subject: sql.placeholder('subject'),
        code: sql.placeholder('code'),
        severity: sql.placeholder('severity'),
        device: sql.placeholder('device'),
        rollout: sql.placeholder('rollout'),
        keySet: sql.placeholder('keySet'),
        message: sql.placeholder('message'),
        firstSeq: sql.placeholder('seq'),
        lastSeq: sql.placeholder('seq'),
        occurrences: 1,
        raisedAt: sql.placeholder('at'),
        lastAt: sql.placeholder('at'),
      })
      .onConflictDoUpdate({
        target: alerts.subject,
        targetWhere: isOpen,
        set: {
          occurrences: sql`${alerts.occurrences} + 1`,
          lastSeq: sql`excluded.last_seq`,
          lastAt: sql`excluded.last_at`,
        },
      })
      .returning(),
    (row) => alertRecord(alertRow(row)),
  );
  return (record, at) => {
    const alert = alertOf(record);
    if (alert === undefined) return undefined;
    const { device = null, rollout = null, keySet = null, subject, code, severity, message } = alert;
    const values = { subject, code, severity, device, rollout, keySet, message, seq: record.seq, at: at.getTime() };
    const kept = raise(values);
    return kept?.occurrences === 1 ? kept : undefined;
  };
}

type AlertMethods = Pick<AuditStore, 'alerts' | 'alert' | 'openAlerts' | 'acknowledgeAlert'>;

export function alertStore({ db, transactions }: StoreContext): AlertMethods {
  const find = (id: number): AlertRecord | undefined => {
    const row = db.select().from(alerts).where(eq(alerts.id, id)).get();
    return row === undefined ? undefined : alertRecord(row);
  };

  return {
    async alerts({ open, after, limit }) {
      return transactions.read(() =>
        db
          .select()
          .from(alerts)
          .where(
            and(
              open === undefined ? undefined : open ? isOpen : isNotNull(alerts.acknowledgedAt),
              after === undefined ? undefined : lt(alerts.id, after),
            ),
          )
          .orderBy(desc(alerts.id))
          .limit(limit)
          .all()
          .map(alertRecord),
      );
    },

    async alert(id) {
      return transactions.read(() => find(id));
    },

    async openAlerts() {
      return transactions.read(() => {
        const rows = db
          .select({ severity: alerts.severity, alerts: count() })
          .from(alerts)
          .where(isOpen)
          .groupBy(alerts.severity)
          .all();
        const open = { critical: 0, warning: 0, info: 0 };
        for (const name of ALERT_SEVERITIES) open[name] = rows.find((row) => row.severity === name)?.alerts ?? 0;
        return open;
      });
    },

    async acknowledgeAlert(id, by, at, audit) {
      return transactions.write((journal) => {
        const closed = db
          .update(alerts)
          .set({ acknowledgedAt: at.getTime(), acknowledgedBy: by })
          .where(and(eq(alerts.id, id), isOpen))
          .run();
        const alert = find(id);
        if (closed.changes === 0 || alert === undefined) throw notOpen(id, alert);
        journal([audit], at);
        return alert;
      });
    },
  };
}

function notOpen(id: number, found: AlertRecord | undefined): CroupierError {
  const acknowledged = found?.acknowledgedAt;
  return new CroupierError(
    'alert.not-found',
    acknowledged === undefined
      ? `there is no alert ${id}`
      : `alert ${id} was acknowledged by ${found?.acknowledgedBy ?? 'somebody'} at ${acknowledged.toISOString()}`,
  );
}
