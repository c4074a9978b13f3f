import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { transactionsOn, type Settled, type Transactions } from '#gateway/store/sqlite/transaction.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

function opened(
  hear?: (statement: string) => void,
  path = ':memory:',
): {
  sqlite: Database.Database;
  transactions: Transactions;
  add: (value: number) => Promise<number>;
  values: () => readonly unknown[];
} {
  const sqlite = new Database(path, hear === undefined ? {} : { verbose: (statement) => hear(String(statement)) });
  sqlite.exec('create table numbers (value integer primary key)');
  const transactions = transactionsOn(sqlite, () => []);
  const insert = sqlite.prepare('insert into numbers values (?)');
  return {
    sqlite,
    transactions,
    add: (value) =>
      transactions.write(() => {
        insert.run(value);
        return value;
      }),
    values: () => sqlite.prepare('select value from numbers order by value').pluck().all(),
  };
}

describe('write', () => {
  it('given a callback that returns a promise, when it is compiled, then it does not fit; one that does not, does', async () => {
    const { transactions, values } = opened();
    expectTypeOf<Settled<Promise<number>>>().toBeNever();
    expectTypeOf<Settled<number>>().toEqualTypeOf<number>();
    // @ts-expect-error an async callback is refused by its type
    await expect(transactions.write(async () => 1)).rejects.toThrow('promise');
    expect(await transactions.write(() => 1)).toBe(1);
    expect(values()).toEqual([]);
  });

  it('given writes of one turn, when one throws after it wrote, then it alone is undone and each gets its own answer', async () => {
    const { transactions, add, values } = opened();
    const boom = new Error('boom');
    const failing = transactions.write((): number => {
      throw boom;
    });
    const results = await Promise.allSettled([add(1), add(2), failing, add(2), add(3)]);
    expect(results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason === boom))).toEqual([
      1,
      2,
      true,
      false,
      3,
    ]);
    expect(values()).toEqual([1, 2, 3]);
  });

  it('given writes of one turn, when they run, then they share one commit, and none is answered before it', async () => {
    const { sqlite, transactions } = opened();
    const inside: boolean[] = [];
    const order: string[] = [];
    const work = (name: string) =>
      transactions
        .write(() => {
          inside.push(sqlite.inTransaction);
          order.push(`run ${name}`);
        })
        .then(() => order.push(`answer ${name}`));
    await Promise.all([work('a'), work('b')]);
    expect(inside).toEqual([true, true]);
    expect(order).toEqual(['run a', 'run b', 'answer a', 'answer b']);
    expect(sqlite.inTransaction).toBe(false);
  });

  it('given several of one turn that throw, when they are undone, then each of the others is done once, in order', async () => {
    const { sqlite, transactions, add, values } = opened();
    const insert = sqlite.prepare('insert into numbers values (?)');
    const many = (from: number, fails = false) =>
      transactions.write(() => {
        for (let value = from; value < from + 3; value += 1) insert.run(value);
        if (fails) throw new Error('boom');
        return from;
      });
    const writes = [many(20, true), add(1), many(10), add(2), many(40, true), many(50, true), add(3), many(30), add(4)];
    const results = await Promise.allSettled(writes);
    expect(results.map(({ status }) => status === 'fulfilled')).toEqual([
      false,
      true,
      true,
      true,
      false,
      false,
      true,
      true,
      true,
    ]);
    expect(values()).toEqual([1, 2, 3, 4, 10, 11, 12, 30, 31, 32]);
  });

  it('given writes that share a commit, when they run, then there is one transaction and no savepoint in it', async () => {
    const said: string[] = [];
    const { transactions, add } = opened((statement) => said.push(statement));
    const fail = () =>
      transactions.write(() => {
        throw new Error('boom');
      });
    await Promise.allSettled([add(1), add(2), fail(), add(3)]);
    const [begin, commit, rollback] = ['BEGIN IMMEDIATE', 'COMMIT', 'ROLLBACK'];
    const marks = said.filter((statement) => [begin, commit, rollback].includes(statement));
    expect(marks).toEqual([begin, rollback, begin, commit, begin, rollback, begin, commit]);
    expect(said.filter((statement) => /savepoint/i.test(statement))).toEqual([]);
  });

  it('given a transaction that is lost as a whole, when its writes are answered, then only the one that lost it is refused', async () => {
    const { sqlite, transactions, add, values } = opened();
    const lose = transactions.write(() => {
      sqlite.exec('rollback');
      throw new Error('the disk took everything');
    });
    const results = await Promise.allSettled([add(1), lose, add(2)]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(values()).toEqual([1, 2]);
  });

  it('given a lock that somebody else holds, when writes of one turn wait for it, then they wait once, and all are refused', async () => {
    const said: string[] = [];
    const path = join(await mkdtemp(join(tmpdir(), 'croupier-store-')), 'numbers.db');
    const { sqlite, add, values } = opened((statement) => said.push(statement), path);
    sqlite.pragma('busy_timeout = 0');
    const other = new Database(path);
    other.exec('begin immediate');
    said.length = 0;
    const results = await Promise.allSettled([add(1), add(2), add(3)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(said).toEqual(['BEGIN IMMEDIATE']);
    other.exec('rollback');
    expect(await add(4)).toBe(4);
    expect(values()).toEqual([4]);
    other.close();
    sqlite.close();
    await rm(dirname(path), { recursive: true });
  });

  it('given a query that was built and not run, when work returns it, then it is refused', async () => {
    const { sqlite, transactions } = opened();
    const built: object = drizzle(sqlite)
      .select({ value: sql`value` })
      .from(sql`numbers`);
    await expect(transactions.write(() => built)).rejects.toThrow('promise');
  });

  it('given a commit that fails, when its writes are answered, then all are refused and the next one works', async () => {
    const { sqlite, transactions, add, values } = opened();
    sqlite.exec(
      'create table parents (id integer primary key); create table children (parent integer references parents deferrable initially deferred)',
    );
    const orphan = transactions.write(() => sqlite.exec('insert into children values (7)').inTransaction);
    const results = await Promise.allSettled([add(1), orphan, add(2)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(values()).toEqual([]);
    expect(await add(3)).toBe(3);
  });

  it('given many writes, when they take longer than a turn may, then all are committed, in order', async () => {
    const { sqlite, transactions, values } = opened();
    const insert = sqlite.prepare('insert into numbers values (?)');
    const order: number[] = [];
    const slow = (value: number) =>
      transactions.write(() => {
        const until = performance.now() + 4;
        while (performance.now() < until);
        order.push(value);
        insert.run(value);
      });
    const numbers = Array.from({ length: 12 }, (_, index) => index);
    await Promise.all(numbers.map(slow));
    expect(order).toEqual(numbers);
    expect(values()).toEqual(numbers);
  });

  it('given a closed store, when something is asked of it, then it is refused; what waited was done', async () => {
    const { transactions, add, values } = opened();
    const waiting = add(1);
    transactions.close();
    expect(await waiting).toBe(1);
    await expectRefusal('store.unavailable', () => add(2));
    await expectRefusal('store.unavailable', () => transactions.read(() => 1));
    expect(values()).toEqual([1]);
  });
});

describe('watch', () => {
  const event = { action: 'test', outcome: 'success', actor: { type: 'gateway', id: 'test' } } as const;
  const at = new Date(0);

  it('given work that appends to the trail, when it is committed, then watchers are called; else not, and not after they ended', async () => {
    const { transactions } = opened();
    let calls = 0;
    const end = transactions.watch(() => void (calls += 1));
    await transactions.write(() => 1);
    await transactions.write((journal) => journal([], at));
    expect(calls).toBe(0);
    await transactions.write((journal) => journal([event], at));
    expect(calls).toBe(1);
    end();
    await transactions.write((journal) => journal([event], at));
    expect(calls).toBe(1);
  });

  it('given work that appends and then throws, when it is undone, then no watcher is called', async () => {
    const { transactions } = opened();
    let calls = 0;
    transactions.watch(() => void (calls += 1));
    const failing = transactions.write((journal): number => {
      journal([event], at);
      throw new Error('boom');
    });
    await expect(failing).rejects.toThrow('boom');
    expect(calls).toBe(0);
  });
});
