/** What the model relies on when its lanes meet: alone, and on threads. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { ALONE, isOf } from '#simulator/model/lanes.ts';
import { createLaneMemory, SharedLanes } from '#simulator/model/shared-lanes.ts';

const LANES = 3;
const ROUNDS = 2_000;
const LATE = 1_000;
const LATE_MS = 300;

/** What was said at a meeting: of changing length, and different in each lane and round. */
const said = (round: number, lane: number): number[] => Array.from({ length: round % 4 }, () => round * 10 + lane);

describe('a floor in one part', () => {
  test('given numbers, then it hears its own', () => {
    expect(ALONE.exchange(Float64Array.of(1, 2)).map((numbers) => [...numbers])).toEqual([[1, 2]]);
    expect([0, 1, 2].every((number) => isOf(ALONE, number))).toBe(true);
  });
});

describe('lanes on threads', () => {
  test('given many meetings, one of them with a lane that comes late, then each hears what all have said at each', async () => {
    const memory = createLaneMemory(LANES, 8);
    const peers = Array.from({ length: LANES - 1 }, (_, peer) => {
      const workerData = { memory, index: peer + 1, rounds: ROUNDS, late: peer === 0 ? LATE : -1, lateMs: LATE_MS };
      return new Worker(new URL('lanes-peer.ts', import.meta.url), { workerData });
    });
    const told = peers.map(async (peer) => once(peer, 'message'));
    const lanes = new SharedLanes(memory, 0);
    const heard: number[][][] = [];
    for (let round = 0; round < ROUNDS; round += 1)
      heard.push(lanes.exchange(Float64Array.from(said(round, 0))).map((numbers) => [...numbers]));
    const expected = Array.from({ length: ROUNDS }, (_, round) =>
      Array.from({ length: LANES }, (__, lane) => said(round, lane)),
    );
    expect(heard).toEqual(expected);
    for (const [theirs] of await Promise.all(told)) expect(theirs).toEqual(expected);
  });

  test('given more numbers than there is room for, then they are refused before anybody is kept waiting', () => {
    const lanes = new SharedLanes(createLaneMemory(2, 3), 0);
    expect(() => lanes.exchange(Float64Array.of(1, 2, 3, 4))).toThrow(RangeError);
  });

  test('given devices of a floor, then each belongs to one lane', () => {
    const memory = createLaneMemory(LANES, 1);
    const lanes = Array.from({ length: LANES }, (_, index) => new SharedLanes(memory, index));
    for (const number of [0, 1, 2, 3, 49_999]) expect(lanes.filter((lane) => isOf(lane, number))).toHaveLength(1);
  });
});
