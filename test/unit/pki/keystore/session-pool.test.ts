import { describe, expect, it } from 'vitest';
import { createSessionPool, isOverload, type SessionPool } from '#pki/keystore/pkcs11/session-pool.ts';

interface Fixture {
  readonly pool: SessionPool<number>;
  readonly opened: number[];
  readonly closed: number[];
  readonly stale: Set<number>;
  openError: Error | undefined;
}

class Spoiling extends Error {}

function fixture(size = 2, queueLimit = 10): Fixture {
  const opened: number[] = [];
  const closed: number[] = [];
  const stale = new Set<number>();
  const made: Fixture = {
    opened,
    closed,
    stale,
    openError: undefined,
    pool: createSessionPool<number>({
      size,
      queueLimit,
      open: async () => {
        if (made.openError !== undefined) throw made.openError;
        opened.push(opened.length + 1);
        return opened.length;
      },
      close: (session) => closed.push(session),
      usable: (session) => !stale.has(session),
      spoils: (error) => error instanceof Spoiling,
    }),
  };
  return made;
}

/** A call that returns when it is told to. */
function call(): { readonly run: () => Promise<void>; readonly finish: () => void; readonly started: Promise<void> } {
  const end = Promise.withResolvers<void>();
  const begin = Promise.withResolvers<void>();
  const run = (): Promise<void> => {
    begin.resolve();
    return end.promise;
  };
  return { run, finish: end.resolve, started: begin.promise };
}

const GENEROUS = 20_000;

describe('session pool', () => {
  it('given more operations than sessions, then never two run on one session and all are served in order', async () => {
    const { pool, opened } = fixture(3, 100);
    const inUse = new Set<number>();
    const order: number[] = [];
    let most = 0;
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        pool.run(async (session) => {
          expect(inUse.has(session)).toBe(false);
          inUse.add(session);
          order.push(index);
          most = Math.max(most, inUse.size);
          await Promise.resolve();
          inUse.delete(session);
        }, GENEROUS),
      ),
    );

    expect(most).toBe(3);
    expect(opened).toHaveLength(3);
    expect(order).toEqual(Array.from({ length: 50 }, (_, index) => index));
  });

  it('given one operation after the other, then one session is enough', async () => {
    const { pool, opened } = fixture();
    for (let i = 0; i < 5; i += 1) await pool.run(() => i, GENEROUS);

    expect(opened).toEqual([1]);
  });

  it('given thousands of waiting operations that end at once, then all are served', async () => {
    const { pool } = fixture(1, 20_000);
    const results = await Promise.all(Array.from({ length: 20_000 }, (_, index) => pool.run(() => index, GENEROUS)));

    expect(results[19_999]).toBe(19_999);
  });

  it('given a full queue, when one more comes, then it is refused as overload with a time to return; the others are served', async () => {
    const { pool } = fixture(1, 2);
    const first = call();
    const running = pool.run(first.run, GENEROUS);
    await first.started;
    const waiting = [pool.run(() => 'second', GENEROUS), pool.run(() => 'third', GENEROUS)];

    const refused = await pool.run(() => 'fourth', GENEROUS).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'hsm.unavailable', retryAfter: 2 });
    expect(isOverload(refused)).toBe(true);
    first.finish();
    expect(await Promise.all([running, ...waiting])).toEqual([undefined, 'second', 'third']);
  });

  it('given a call that hangs, when its deadline passes, then it fails, keeps its place, and its session is closed only when it returns', async () => {
    const { pool, closed, opened } = fixture(2);
    const hung = call();
    const late = await pool.run(hung.run, 5).catch((error: unknown) => error);

    expect(late).toMatchObject({ code: 'hsm.unavailable' });
    expect(isOverload(late)).toBe(false);
    expect([pool.sessions, closed]).toEqual([1, []]);
    expect(await pool.run((session) => session, GENEROUS)).toBe(2);
    hung.finish();
    await expect.poll(() => closed).toEqual([1]);
    expect(opened).toEqual([1, 2]);
  });

  it('given only hung calls, when others wait beyond their deadline, then they are refused as overload', async () => {
    const { pool } = fixture(1);
    const hung = call();
    await expect(pool.run(hung.run, 5)).rejects.toMatchObject({ code: 'hsm.unavailable' });

    const waited = await pool.run(() => 'never', 5).catch((error: unknown) => error);
    expect(isOverload(waited)).toBe(true);
    expect(pool.waiting).toBe(0);
    hung.finish();
    expect(await pool.run(() => 'served again', GENEROUS)).toBe('served again');
  });

  it('given an error that spoils the session, then it is closed; after any other error it is used again', async () => {
    const { pool, closed } = fixture(1);
    await expect(pool.run(() => Promise.reject(new Error('an answer')), GENEROUS)).rejects.toThrow('an answer');
    expect(await pool.run((session) => session, GENEROUS)).toBe(1);
    await expect(
      pool.run(() => {
        throw new Spoiling('lost');
      }, GENEROUS),
    ).rejects.toThrow('lost');

    expect(closed).toEqual([1]);
    expect(await pool.run((session) => session, GENEROUS)).toBe(2);
  });

  it('given a session of an earlier initialisation, then it is not used again', async () => {
    const { pool, stale } = fixture(1);
    await pool.run((session) => stale.add(session), GENEROUS);

    expect(await pool.run((session) => session, GENEROUS)).toBe(2);
  });

  it('given eviction, then idle sessions close at once and busy ones when their operation ends', async () => {
    const { pool, closed } = fixture(2);
    const busy = call();
    const running = pool.run(busy.run, GENEROUS);
    expect(await pool.run((session) => session, GENEROUS)).toBe(2);
    pool.evictAll();

    expect(closed).toEqual([2]);
    busy.finish();
    await running;
    expect(closed).toEqual([2, 1]);
  });

  it('given that no session can be opened, then the operation fails with the reason; later ones are served when it can', async () => {
    const made = fixture(1);
    made.openError = new Error('unplugged');
    await expect(
      Promise.allSettled([made.pool.run(() => 1, GENEROUS), made.pool.run(() => 2, GENEROUS)]),
    ).resolves.toMatchObject([
      { status: 'rejected', reason: { message: 'unplugged' } },
      { status: 'rejected', reason: { message: 'unplugged' } },
    ]);
    made.openError = undefined;

    expect(await made.pool.run(() => 3, GENEROUS)).toBe(3);
  });

  it('given a pool at rest, then nothing starts until it resumes; rest is reached only when what runs has ended', async () => {
    const { pool } = fixture(1);
    const busy = call();
    const running = pool.run(busy.run, GENEROUS);
    await busy.started;
    expect(await pool.quiesce(5)).toBe(false);
    busy.finish();
    await running;
    expect(await pool.quiesce(GENEROUS)).toBe(true);
    let started = false;
    const waiting = pool.run(() => {
      started = true;
    }, GENEROUS);
    await Promise.resolve();
    expect(started).toBe(false);
    pool.resume();
    await waiting;
    expect(started).toBe(true);
  });
});
