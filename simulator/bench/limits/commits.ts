/** commits.ts FILE MILLISECONDS: one row, one commit, one flush of the disk, as long as told. */
import Database from 'better-sqlite3';

const [file = '', milliseconds = ''] = process.argv.slice(2);
const database = new Database(file);
database.pragma('journal_mode = WAL');
database.pragma('synchronous = FULL');
database.exec('create table row (id integer primary key, content blob not null)');
const insert = database.prepare('insert into row (content) values (?)');
const content = Buffer.alloc(500, 'content');
const begun = performance.now();
let done = 0;
while (performance.now() - begun < Number(milliseconds)) {
  insert.run(content);
  done += 1;
}
process.stdout.write(`${JSON.stringify({ perSecond: (done * 1000) / (performance.now() - begun) })}\n`);
database.close();
