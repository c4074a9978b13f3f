/** Whoever hears of presence hears of every end of it, whichever connection the device had last. */
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { beforeEach, describe, expect, test } from 'vitest';
import { watchConnection, type DeviceConnection } from '#gateway/broker/device-connection.ts';
import { DEFAULT_BROKER_LIMITS } from '#gateway/broker/limits.ts';
import { Sessions } from '#gateway/broker/sessions.ts';
import type { Presence } from '#gateway/ports/broker.ts';
import { DeviceId, Serial } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';

const identity = { device: DeviceId.parse('egm-1'), serial: Serial.parse('0a') };

let told: string[];
let sessions: Sessions;

beforeEach(() => {
  told = [];
  sessions = new Sessions((presence: Presence) =>
    told.push(presence.kind === 'connected' ? 'connected' : `disconnected, ${presence.reason}`),
  );
});

const connection = (): DeviceConnection =>
  watchConnection(new TLSSocket(new Socket()), DEFAULT_BROKER_LIMITS, systemClock, () => undefined);

async function connected(): Promise<DeviceConnection> {
  const first = connection();
  expect(await sessions.take(first, identity)).toBe(true);
  sessions.announce(first);
  return first;
}

describe('given a device that is there', () => {
  test('when its connection ends, then that is told', async () => {
    sessions.vacate(await connected(), 'dropped');
    expect(told).toEqual(['connected', 'disconnected, dropped']);
  });

  test('when another connection takes its seat and is announced, then it is there again', async () => {
    await connected();
    const second = connection();
    await sessions.take(second, identity);
    sessions.announce(second);
    expect(told).toEqual(['connected', 'disconnected, taken-over', 'connected']);
    sessions.vacate(second, 'closed');
    expect(told.at(-1)).toBe('disconnected, closed');
  });

  test('when another connection takes its seat and ends before it is announced, then the device is told to be gone', async () => {
    await connected();
    const second = connection();
    await sessions.take(second, identity);
    sessions.vacate(second, 'dropped');
    expect(told).toEqual(['connected', 'disconnected, taken-over', 'disconnected, dropped']);
  });

  test('when two connections take the seat one after the other and none is announced, then it is told once more, at the end', async () => {
    await connected();
    const [second, third] = [connection(), connection()];
    await sessions.take(second, identity);
    second.socket.destroy();
    expect(await sessions.take(third, identity)).toBe(true);
    sessions.vacate(third, 'dropped');
    expect(told.at(-1)).toBe('disconnected, dropped');
    expect(told.filter((one) => one === 'disconnected, dropped')).toHaveLength(1);
  });
});

test('given a device that was never there, when its connection ends before it is announced, then nothing is told', async () => {
  const first = connection();
  await sessions.take(first, identity);
  sessions.vacate(first, 'dropped');
  expect(told).toEqual([]);
});
