/** How much of the disk the gateway's database takes, in its file or, so far, in its log alone. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { z } from 'zod';
import type { Realm } from '../realm.ts';

type Place = Pick<Realm, 'directory' | 'installation'>;

export const databaseFile = ({ directory, installation }: Place): string =>
  join(directory, installation.config.store.path);

const Count = z.int();

/** Octets of its pages, without those that are free. */
export function databaseOctets(place: Place): number {
  const sqlite = new Database(databaseFile(place), { readonly: true });
  try {
    const read = (pragma: string): number => Count.parse(sqlite.pragma(pragma, { simple: true }));
    return (read('page_count') - read('freelist_count')) * read('page_size');
  } finally {
    sqlite.close();
  }
}
