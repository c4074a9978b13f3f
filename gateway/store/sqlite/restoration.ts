/**
 * A database that was put back from a backup: what was given out after the backup must not be given out again, and what
 * was contained stays contained. docs/restore.md tells the whole story.
 */
import type Database from 'better-sqlite3';
import { and, desc, eq, gt, inArray, isNull, max } from 'drizzle-orm';
import { drizzle, type BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import { z } from 'zod';
import type { AuditActor } from '#schema/audit.ts';
import { KeySetName, KeyVersionNumber, type DeviceId, type Realm } from '#schema/ids.ts';
import { parseJson } from '#schema/parse.ts';
import { approvals, auditRecords, crls, devices, keySets, keyVersions, meta, tickets } from '#schema/tables.ts';
import type { Restoration } from '#gateway/ports/store/governance.ts';
import type { DeviceRecord } from '#gateway/ports/store/records.ts';
import { auditJournal } from './audit.ts';
import { changeDeviceState, revokeCertificates } from './containment.ts';
import { insertKeyVersion, nextRevision } from './key-sets.ts';
import { deviceRecord, Instant } from './rows.ts';
import { statementsOn } from './statement.ts';
import { transactionsOn } from './transaction.ts';

const RESTORATION = 'restoration';
const Marked = z.object({ at: Instant, numbersUpTo: z.int() });

/** Numbers passed over by a restoration, and one more for every so many milliseconds since the backup. */
const NUMBERS_PASSED = 1_000;
const NUMBER_EVERY_MS = 600_000;
/** Beyond this no number is passed over: the rest is for rotations. */
const HIGHEST_PASSED = 900_000;
/** What stands in for the number up to which a restoration has passed over: no key was ever wrapped for it. */
const PASSED = { kek: 'none', kcv: '0000000000' };

/** The latest restoration of this database. */
export function restorationOf(db: BetterSQLite3Database): Restoration | undefined {
  const row = db.select().from(meta).where(eq(meta.key, RESTORATION)).get();
  return row === undefined ? undefined : parseJson(Marked, row.value, 'store.corrupt', 'Row of meta: restoration');
}

interface Head {
  readonly seq: number;
  readonly hash: string;
  readonly time: Date;
}

const HeadRecord = z.object({ time: z.iso.datetime({ precision: 3 }) });

function headOf(db: BetterSQLite3Database): Head | undefined {
  const row = db.select().from(auditRecords).orderBy(desc(auditRecords.seq)).limit(1).get();
  if (row === undefined) return undefined;
  const { time } = parseJson(HeadRecord, row.record, 'audit.broken', `Audit record ${row.seq}`);
  return { seq: row.seq, hash: row.hash, time: new Date(time) };
}

/** What the database that is replaced still tells. */
export interface Predecessor {
  readonly head: Head | undefined;
  readonly highest: ReadonlyMap<string, number>;
  readonly contained: readonly DeviceRecord[];
  readonly crls: readonly (typeof crls.$inferSelect)[];
}

const highestNumbers = (db: BetterSQLite3Database): Map<string, number> =>
  new Map(
    db
      .select({ keySet: keyVersions.keySet, highest: max(keyVersions.version) })
      .from(keyVersions)
      .groupBy(keyVersions.keySet)
      .all()
      .map(({ keySet, highest }) => [keySet, highest ?? 0]),
  );

/** Reads the database that is to be replaced; whatever it throws, that database tells nothing. */
export function readPredecessor(sqlite: Database.Database): Predecessor {
  const db = drizzle({ client: sqlite });
  return {
    head: headOf(db),
    highest: highestNumbers(db),
    contained: db
      .select()
      .from(devices)
      .where(inArray(devices.state, ['quarantined', 'revoked']))
      .all()
      .map(deviceRecord),
    crls: db.select().from(crls).orderBy(desc(crls.number)).limit(32).all(),
  };
}

export interface RestorationMarks {
  readonly at: Date;
  readonly actor: AuditActor;
  /** Undefined when the database that is replaced is missing or cannot be read. */
  readonly predecessor: Predecessor | undefined;
}

export interface RestorationSummary {
  /** When the backup's last audit record was written: what came after is forgotten. */
  readonly takenAt: Date | undefined;
  /** The head of the trail that is abandoned. */
  readonly abandoned: Head | undefined;
  /** Devices whose quarantine or revocation was taken over from the database that is replaced. */
  readonly contained: readonly DeviceId[];
  /** Tickets that were out at the time of the backup; they are void. */
  readonly tickets: number;
  readonly approvals: number;
}

/** The number up to which none is given out after a restoration. */
function passedUpTo(highest: number, ageMs: number): number {
  const wanted = highest + NUMBERS_PASSED + Math.max(0, Math.floor(ageMs / NUMBER_EVERY_MS));
  return Math.max(highest, Math.min(wanted, HIGHEST_PASSED));
}

function passNumbers(db: BetterSQLite3Database, at: Date, ageMs: number, before: ReadonlyMap<string, number>): void {
  const highest = highestNumbers(db);
  for (const { name } of db.select({ name: keySets.name }).from(keySets).all()) {
    const own = highest.get(name) ?? 0;
    const number = passedUpTo(Math.max(own, before.get(name) ?? 0), ageMs);
    if (number <= own) continue;
    insertKeyVersion(db, {
      keySet: KeySetName.parse(name),
      version: KeyVersionNumber.parse(number),
      state: 'destroyed',
      retiredAt: at,
      wrapped: undefined,
      ...PASSED,
      createdAt: at,
      activatedAt: undefined,
      deactivatedAt: undefined,
      compromisedAt: undefined,
      destroyedAt: at,
    });
  }
  db.update(keySets)
    .set({ revision: nextRevision(at) })
    .run();
}

/** Containment is never undone by a restoration. */
function takeOverContainment(
  db: BetterSQLite3Database,
  { contained, crls: lists }: Predecessor,
  at: Date,
): readonly DeviceId[] {
  const taken: DeviceId[] = [];
  for (const { id, state } of contained) {
    const row = db.select().from(devices).where(eq(devices.id, id)).get();
    if (row === undefined || row.state === state.kind || row.state === 'revoked') continue;
    changeDeviceState(db, deviceRecord(row), state, at);
    if (state.kind === 'revoked') revokeCertificates(db, id, 'keyCompromise', at);
    taken.push(id);
  }
  const last =
    db
      .select({ number: max(crls.number) })
      .from(crls)
      .get()?.number ?? 0;
  for (const list of lists.filter(({ number }) => number > last)) db.insert(crls).values(list).run();
  return taken;
}

/** Codes that were consumed, and requests that were decided, after the backup are open again in it. */
function closeWhatWasOpen(db: BetterSQLite3Database, at: Date): Pick<RestorationSummary, 'tickets' | 'approvals'> {
  const out = and(isNull(tickets.consumedAt), gt(tickets.expiresAt, at.getTime()));
  const voided = db.update(tickets).set({ expiresAt: at.getTime() }).where(out).run();
  const closed = db
    .update(approvals)
    .set({ state: 'expired', decidedAt: at.getTime() })
    .where(inArray(approvals.state, ['pending', 'approved']))
    .run();
  return { tickets: voided.changes, approvals: closed.changes };
}

/**
 * Marks an open, migrated database as restored, in one transaction with its audit record: numbers of key versions are
 * passed over, revisions rise, tickets and approvals that were open are closed, containment is taken over.
 */
export async function markRestored(
  sqlite: Database.Database,
  realm: Realm,
  { at, actor, predecessor }: RestorationMarks,
): Promise<RestorationSummary> {
  const db = drizzle({ client: sqlite });
  const transactions = transactionsOn(sqlite, auditJournal(db, statementsOn(sqlite), realm));
  return transactions.write((journal) => {
    const backup = headOf(db);
    const ageMs = backup === undefined ? 0 : at.getTime() - backup.time.getTime();
    const before = predecessor?.highest ?? new Map<string, number>();
    passNumbers(db, at, ageMs, before);
    const numbersUpTo = passedUpTo(Math.max(0, ...before.values()), ageMs);
    const value = JSON.stringify({ at: at.getTime(), numbersUpTo });
    db.insert(meta).values({ key: RESTORATION, value }).onConflictDoUpdate({ target: meta.key, set: { value } }).run();
    const contained = predecessor === undefined ? [] : takeOverContainment(db, predecessor, at);
    const closed = closeWhatWasOpen(db, at);
    const abandoned = predecessor?.head;
    journal(
      [
        {
          action: 'gateway.restore',
          outcome: 'success',
          actor,
          details: {
            taken: backup?.time.toISOString() ?? null,
            abandoned: abandoned === undefined ? null : `${abandoned.seq}:${abandoned.hash}`,
            contained: [...contained],
            ...closed,
          },
        },
      ],
      at,
    );
    return { takenAt: backup?.time, abandoned, contained, ...closed };
  });
}
