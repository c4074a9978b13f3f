/** Applies the migrations that drizzle-kit generated, and refuses a database that this version cannot know. */
import { fileURLToPath } from 'node:url';
import type Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { parseWith } from '#schema/parse.ts';

const MIGRATIONS = {
  migrationsFolder: fileURLToPath(new URL('../migrations', import.meta.url)),
  migrationsTable: 'schema_migrations',
};

/** "CRPR" in the header of the file tells whose database it is. */
const APPLICATION_ID = 0x43525052;

const Applied = z.array(z.object({ hash: z.string(), created_at: z.number() }));
const PragmaNumber = z.number();

const mismatch = (message: string): CroupierError => new CroupierError('store.schema-mismatch', message);

/**
 * Brings the schema up to date. Errors: `store.schema-mismatch` when the file holds another program's tables, a
 * migration that this version does not have, or one with other content.
 */
export function migrateDatabase(sqlite: Database.Database): void {
  const known = readMigrationFiles(MIGRATIONS).map(({ hash }) => hash);
  const applied = appliedMigrations(sqlite);
  if (applied.length > known.length) {
    throw mismatch(
      `The database has ${applied.length} migrations, this version of Croupier knows ${known.length}: it is older than the database`,
    );
  }
  if (applied.some((hash, index) => hash !== known[index])) {
    throw mismatch('The database was made by a version of Croupier with other migrations');
  }
  if (applied.length === known.length) return;
  // Rebuilding a table drops the old one, which would take the rows that refer to it along.
  sqlite.pragma('foreign_keys = OFF');
  migrate(drizzle({ client: sqlite }), MIGRATIONS);
  sqlite.pragma(`application_id = ${APPLICATION_ID}`);
  sqlite.pragma('foreign_keys = ON');
}

/** Hashes of the migrations applied, oldest first; none for an empty file. */
function appliedMigrations(sqlite: Database.Database): readonly string[] {
  const tables = sqlite.prepare("select name from sqlite_schema where type = 'table'").pluck().all();
  if (tables.length === 0) return [];
  const owner = parseWith(
    PragmaNumber,
    sqlite.pragma('application_id', { simple: true }),
    'store.corrupt',
    'application_id',
  );
  if (!tables.includes(MIGRATIONS.migrationsTable) || (owner !== APPLICATION_ID && owner !== 0)) {
    throw mismatch('The file is the database of another program');
  }
  const rows = sqlite
    .prepare(`select hash, created_at from ${MIGRATIONS.migrationsTable} order by created_at, rowid`)
    .all();
  return parseWith(Applied, rows, 'store.corrupt', `Row of ${MIGRATIONS.migrationsTable}`).map(({ hash }) => hash);
}
