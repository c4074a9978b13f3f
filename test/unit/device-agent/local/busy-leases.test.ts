import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BusyLeases, BusyRequest } from '#agent/local/busy-leases.ts';
import { leaseFile } from '#agent/local/lease-file.ts';
import { silentLog } from '#agent/log.ts';
import { KeySetName } from '#schema/ids.ts';
import { ManualClock } from '#schema/runtime/clock.ts';

const start = new Date('2026-01-01T00:00:00.000Z');
const wallet = KeySetName.parse('wallet-kek');
const jackpot = KeySetName.parse('jackpot-mac');
const ask = (fields: object): BusyRequest => BusyRequest.parse({ reason: 'credits on the meter', ...fields });

function leases(limits = {}): { clock: ManualClock; busy: BusyLeases } {
  const clock = new ManualClock(start);
  return { clock, busy: new BusyLeases(clock, limits) };
}

describe('given no lease', () => {
  test('then nothing is busy', () => {
    const { busy } = leases();
    expect(busy.busyUntil(wallet, start)).toBeUndefined();
    expect(busy.list()).toEqual([]);
  });
});

describe('given a lease on one key set', () => {
  test('then that key set is busy until its end, and others are free', () => {
    const { busy } = leases();
    busy.put(ask({ keySet: 'wallet-kek', until: '2026-01-01T00:10:00Z' }));
    expect(busy.busyUntil(wallet, start)).toEqual(new Date('2026-01-01T00:10:00.000Z'));
    expect(busy.busyUntil(jackpot, start)).toBeUndefined();
  });

  test('when its end has come, then the key set is free without anybody ending it', () => {
    const { busy, clock } = leases();
    busy.put(ask({ keySet: 'wallet-kek', seconds: 600 }));
    clock.advance(599_999);
    expect(busy.busyUntil(wallet, clock.now())).toEqual(new Date('2026-01-01T00:10:00.000Z'));
    clock.advance(1);
    expect(busy.busyUntil(wallet, clock.now())).toBeUndefined();
    expect(busy.list()).toEqual([]);
  });

  test('when the wall clock steps, then the lease keeps its length', () => {
    const { busy, clock } = leases();
    busy.put(ask({ seconds: 600 }));
    clock.advance(60_000);
    clock.step(new Date('2031-07-01T00:00:00Z'));
    expect(busy.busyUntil(wallet, clock.now())).toEqual(new Date('2031-07-01T00:09:00.000Z'));
    clock.step(new Date('1970-01-01T00:00:00Z'));
    expect(busy.busyUntil(wallet, clock.now())).toEqual(new Date('1970-01-01T00:09:00.000Z'));
  });

  test('when its holder asks again, then the new end counts, later or earlier', () => {
    const { busy } = leases();
    busy.put(ask({ seconds: 600 }));
    busy.put(ask({ seconds: 900 }));
    expect(busy.busyUntil(wallet, start)).toEqual(new Date('2026-01-01T00:15:00.000Z'));
    busy.put(ask({ seconds: 60 }));
    expect(busy.busyUntil(wallet, start)).toEqual(new Date('2026-01-01T00:01:00.000Z'));
    expect(busy.list()).toHaveLength(1);
  });
});

describe('given leases of several holders', () => {
  test('then the latest end counts, and ending one leaves the others', () => {
    const { busy } = leases();
    busy.put(ask({ holder: 'game', seconds: 60 }));
    busy.put(ask({ holder: 'bill-validator', keySet: 'wallet-kek', seconds: 300 }));
    expect(busy.busyUntil(wallet, start)).toEqual(new Date('2026-01-01T00:05:00.000Z'));
    expect(busy.release('bill-validator')).toBe(1);
    expect(busy.busyUntil(wallet, start)).toEqual(new Date('2026-01-01T00:01:00.000Z'));
    expect(busy.release('game', wallet)).toBe(0);
    expect(busy.release('game', null)).toBe(1);
    expect(busy.busyUntil(wallet, start)).toBeUndefined();
  });
});

describe('given limits', () => {
  test('when a lease is as long as allowed it is granted, a moment longer it is refused', () => {
    const { busy } = leases({ maxLeaseMs: 600_000 });
    expect(busy.put(ask({ seconds: 600 })).seconds).toBe(600);
    expect(() => busy.put(ask({ seconds: 600.001 }))).toThrow(expect.objectContaining({ code: 'input.invalid' }));
    expect(() => busy.put(ask({ until: '2099-01-01T00:00:00Z' }))).toThrow(/at most 600 seconds/);
  });

  test('when the end is past or now it is refused, when it is ahead it is granted', () => {
    const { busy } = leases();
    expect(() => busy.put(ask({ until: '2025-12-31T23:59:59Z' }))).toThrow(
      expect.objectContaining({ code: 'input.invalid' }),
    );
    expect(() => busy.put(ask({ until: '2026-01-01T00:00:00Z' }))).toThrow(/would end before it begins/);
    expect(busy.put(ask({ until: '2026-01-01T01:00:01+01:00' })).until).toBe('2026-01-01T00:00:01.000Z');
  });

  test('when there are as many leases as allowed another is refused, until one has ended', () => {
    const { busy, clock } = leases({ maxLeases: 2 });
    busy.put(ask({ holder: 'a', seconds: 60 }));
    busy.put(ask({ holder: 'b', seconds: 120 }));
    expect(() => busy.put(ask({ holder: 'c', seconds: 60 }))).toThrow(
      expect.objectContaining({ code: 'input.too-large' }),
    );
    expect(busy.put(ask({ holder: 'b', seconds: 180 })).holder).toBe('b');
    clock.advance(60_000);
    expect(busy.put(ask({ holder: 'c', seconds: 60 })).holder).toBe('c');
  });

  test.each([
    ['neither until nor seconds', {}],
    ['both until and seconds', { until: '2026-01-01T00:10:00Z', seconds: 60 }],
    ['a date without a time', { until: '2026-01-01' }],
    ['no length', { seconds: 0 }],
    ['a line break in the reason', { seconds: 60, reason: 'busy\nforged log line' }],
    ['an unknown field', { seconds: 60, untill: 1 }],
    ['a holder that is no name', { seconds: 60, holder: '../x' }],
    ['a key set that is no name', { seconds: 60, keySet: 'Wallet KEK' }],
  ])('when a request has %s, then it is refused; its twin without the fault parses', (_, fault) => {
    expect(BusyRequest.safeParse({ reason: 'busy', ...fault }).success).toBe(false);
    expect(BusyRequest.safeParse({ reason: 'busy', seconds: 60, holder: 'game-1', keySet: 'wallet-kek' }).success).toBe(
      true,
    );
  });
});

describe('given a file that remembers leases', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'croupier-leases-'));
    path = join(directory, 'busy.json');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const restarted = (at: string, warnings: string[] = []): BusyLeases => {
    const log = { ...silentLog, warn: (_: object, message: string): void => void warnings.push(message) };
    return new BusyLeases(new ManualClock(new Date(at)), { maxLeaseMs: 3_600_000 }, leaseFile(path, log));
  };

  test('when the agent starts again before the end, then the lease still holds, and after the end it does not', () => {
    restarted('2026-01-01T00:00:00Z').put(ask({ keySet: 'wallet-kek', seconds: 600 }));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const now = new Date('2026-01-01T00:09:59Z');
    expect(restarted('2026-01-01T00:09:59Z').busyUntil(wallet, now)).toEqual(new Date('2026-01-01T00:10:00.000Z'));
    expect(restarted('2026-01-01T00:10:00Z').list()).toEqual([]);
  });

  test('when the clock has fallen back to 1970, then the lease lasts no longer than any may', () => {
    restarted('2026-01-01T00:00:00Z').put(ask({ seconds: 600 }));
    expect(restarted('1970-01-01T00:00:00Z').list()).toMatchObject([{ seconds: 3_600 }]);
  });

  test('when a lease was ended, then no restart brings it back', () => {
    const busy = restarted('2026-01-01T00:00:00Z');
    busy.put(ask({ seconds: 600 }));
    busy.release('application');
    expect(restarted('2026-01-01T00:00:01Z').list()).toEqual([]);
  });

  test('when the file is damaged, then the agent starts without leases, says so, and grants new ones', () => {
    writeFileSync(path, '[{"holder"');
    const warnings: string[] = [];
    const busy = restarted('2026-01-01T00:00:00Z', warnings);
    expect(busy.list()).toEqual([]);
    expect(warnings).toEqual(['busy leases of the run before are lost']);
    busy.put(ask({ seconds: 600 }));
    expect(restarted('2026-01-01T00:00:01Z').list()).toHaveLength(1);
  });

  test('when the file cannot be written, then the lease is not granted; once it can, it is', () => {
    const busy = restarted('2026-01-01T00:00:00Z');
    rmSync(directory, { recursive: true });
    expect(() => busy.put(ask({ seconds: 600 }))).toThrow(expect.objectContaining({ code: 'store.unavailable' }));
    expect(busy.list()).toEqual([]);
    directory = mkdtempSync(join(tmpdir(), 'croupier-leases-'));
    chmodSync(directory, 0o700);
    path = join(directory, 'busy.json');
    expect(restarted('2026-01-01T00:00:00Z').put(ask({ seconds: 600 })).seconds).toBe(600);
  });
});
