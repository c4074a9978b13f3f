/**
 * database-program.ts FILE REALM DEVICES REPETITIONS: fills the database of a gateway that does not run up to so many
 * devices, an open rollout among them, and measures what the gateway does with it, in this process. Says one line of JSON.
 */
import { measureDatabase } from './database-measures.ts';
import { Realm } from '#schema/ids.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { fillDatabase } from './database-rows.ts';

const BUSY_TIMEOUT_MS = 5_000;

const [path = '', realm = '', devices = '', repetitions = ''] = process.argv.slice(2);
const store = await openSqliteStore({ path, realm: Realm.parse(realm), busyTimeoutMs: BUSY_TIMEOUT_MS });
const begun = performance.now();
const filled = await fillDatabase(store, Realm.parse(realm), Number(devices));
const fillSeconds = (performance.now() - begun) / 1000;
const measures = await measureDatabase(store, filled, Number(repetitions));
await store.close();
process.stdout.write(
  `${JSON.stringify({ rollout: filled.rollout.id, added: filled.added.length, fillSeconds, ...measures })}\n`,
);
