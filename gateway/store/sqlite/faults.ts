/** What SQLite says, in the words of the error catalogue. */
import Database from 'better-sqlite3';
import { CroupierError, type ErrorCode } from '#schema/errors.ts';

interface Fault {
  readonly code: ErrorCode;
  readonly message: string;
}

const unavailable = (message: string): Fault => ({ code: 'store.unavailable', message });
const corrupt = (message: string): Fault => ({ code: 'store.corrupt', message });

/** By primary result code; the extended ones begin with it. */
const FAULTS: Readonly<Record<string, Fault>> = {
  SQLITE_BUSY: unavailable('The database is locked by another process; nothing was changed'),
  SQLITE_LOCKED: unavailable('The database is locked by another reader or writer; nothing was changed'),
  SQLITE_PROTOCOL: unavailable('The lock of the database cannot be taken; nothing was changed'),
  SQLITE_FULL: unavailable('The disk of the database is full; nothing was changed'),
  SQLITE_IOERR: unavailable('The disk of the database fails to read or write; nothing was changed'),
  SQLITE_READONLY: unavailable('The database cannot be written: file or file system is read-only; nothing was changed'),
  SQLITE_CANTOPEN: unavailable('The database file cannot be opened'),
  SQLITE_PERM: unavailable('The database file may not be accessed'),
  SQLITE_AUTH: unavailable('The database file may not be accessed'),
  SQLITE_NOMEM: unavailable('There is no memory left for the database; nothing was changed'),
  SQLITE_NOLFS: unavailable('The file system cannot hold a database of this size; nothing was changed'),
  SQLITE_CORRUPT: corrupt('The database file is damaged'),
  SQLITE_NOTADB: corrupt('The file is not a database, or its header is damaged'),
};

const primaryCode = (code: string): string => /^SQLITE_[A-Z]+/.exec(code)?.[0] ?? code;

/** Whether SQLite itself refused, as opposed to a decision or a fault of ours. */
export function isSqliteError(error: unknown): error is InstanceType<typeof Database.SqliteError> {
  return error instanceof Database.SqliteError;
}

/**
 * Turns an error of SQLite into one of ours; every other value is returned as it is. SQLite's messages hold names of
 * tables and columns, never values, so they may stand in the cause.
 */
export function storeFault(error: unknown): unknown {
  if (!isSqliteError(error)) return error;
  const fault = FAULTS[primaryCode(error.code)];
  const detail = { sqlite: error.code };
  if (fault === undefined) {
    return new CroupierError('internal.unexpected', `The database refused a statement (${error.code})`, {
      cause: error,
      detail,
    });
  }
  return new CroupierError(fault.code, `${fault.message} (${error.code})`, { cause: error, detail });
}

/** As `storeFault`, for the audit record: what cannot be audited does not happen, and the error says that. */
export function auditFault(error: unknown): unknown {
  const fault = storeFault(error);
  if (!(fault instanceof CroupierError) || fault.code !== 'store.unavailable') return fault;
  return new CroupierError('audit.unavailable', `The audit record could not be written: ${fault.message}`, {
    cause: error,
    detail: fault.detail,
  });
}
