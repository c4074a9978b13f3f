import { expect, test, vi } from 'vitest';
import { createPresenceKeeper } from '#gateway/delivery/presence.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { PresenceChange } from '#gateway/ports/store/delivery.ts';
import { CroupierError } from '#schema/errors.ts';
import { Serial } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { deviceId } from '#test/support/store-fixtures.ts';

const FLOOR = 2_345;
const MOST_AT_ONCE = 500;

/** Takes batches; the first `failures` of them it cannot. */
class Batches {
  readonly taken: (readonly PresenceChange[])[] = [];
  failures: number;

  constructor(failures = 0) {
    this.failures = failures;
  }

  async setPresence(changes: readonly PresenceChange[]): Promise<void> {
    this.failures -= 1;
    if (this.failures >= 0) throw new CroupierError('store.unavailable', 'the disk is full');
    this.taken.push(changes);
  }
}

const idOf = (number: number) => deviceId(`egm-${number}`);
const floor = Array.from({ length: FLOOR }, (_, number) => idOf(number));

test('given a whole floor that loses its power, when it is recorded, then in pieces, in order, and everybody is told of each', async () => {
  const batches = new Batches();
  let told = 0;
  const keeper = createPresenceKeeper(batches, systemClock, silentLog, () => (told += 1));
  for (const device of floor) keeper.note({ kind: 'disconnected', device, reason: 'dropped' });
  await vi.waitFor(() => expect(batches.taken.flat()).toHaveLength(FLOOR));
  await keeper.stop();
  expect(batches.taken.flat().map(({ device }) => device)).toEqual(floor);
  expect(batches.taken.every(({ length }) => length <= MOST_AT_ONCE)).toBe(true);
  expect(told).toBe(batches.taken.length);
});

test('given a store that fails at first, when it works again, then what happened meanwhile is recorded after what it missed', async () => {
  const batches = new Batches(1);
  const keeper = createPresenceKeeper(batches, systemClock, silentLog, () => {});
  const connected = { kind: 'connected', serial: Serial.parse('01'), address: '192.0.2.7' } as const;
  keeper.note({ ...connected, device: idOf(1) });
  await vi.waitFor(() => expect(batches.failures).toBeLessThan(1));
  keeper.note({ kind: 'disconnected', device: idOf(1), reason: 'dropped' });
  await vi.waitFor(() => expect(batches.taken.flat()).toHaveLength(2));
  await keeper.stop();
  expect(batches.taken.flat().map((change) => change.connected)).toEqual([true, false]);
});

test('given a connection that another one of the same device takes over, then the device stays connected', async () => {
  const batches = new Batches();
  const keeper = createPresenceKeeper(batches, systemClock, silentLog, () => {});
  keeper.note({ kind: 'disconnected', device: idOf(1), reason: 'taken-over' });
  keeper.note({ kind: 'disconnected', device: idOf(2), reason: 'closed' });
  await vi.waitFor(() => expect(batches.taken.flat()).toHaveLength(1));
  await keeper.stop();
  expect(batches.taken.flat()[0]?.device).toBe(idOf(2));
});
