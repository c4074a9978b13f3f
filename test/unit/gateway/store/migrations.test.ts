import { readdirSync, readFileSync } from 'node:fs';
import { generateSQLiteDrizzleJson, generateSQLiteMigration } from 'drizzle-kit/api';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import * as tables from '#schema/tables.ts';

const META = new URL('../../../../gateway/store/migrations/meta/', import.meta.url);
const Journal = z.object({ entries: z.array(z.object({ idx: z.int(), tag: z.string(), when: z.number() })) });

const readJson = (name: string): unknown => JSON.parse(readFileSync(new URL(name, META), 'utf8'));
const journal = Journal.parse(readJson('_journal.json'));

describe('migrations', () => {
  it('given schema/tables.ts, when it is compared with the last migration, then nothing is missing', async () => {
    const snapshots = readdirSync(META)
      .filter((name) => name.endsWith('_snapshot.json'))
      .sort();
    const last = readJson(snapshots.at(-1) ?? '') as Parameters<typeof generateSQLiteMigration>[0];
    const statements = await generateSQLiteMigration(last, await generateSQLiteDrizzleJson(tables, last.id));
    expect(statements, 'run: npm run migrations').toEqual([]);
  });

  it('given the journal, when its entries are read, then each has its file and each is later than the one before', () => {
    const files = readdirSync(new URL('..', META)).filter((name) => name.endsWith('.sql'));
    expect(files.sort()).toEqual(journal.entries.map(({ tag }) => `${tag}.sql`));
    const times = journal.entries.map(({ when }) => when);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
});
