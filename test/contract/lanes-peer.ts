/** Thread of the other lane in the contract of lanes: it tells its round at each meeting, and what it has heard at the end. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { LaneMemory, SharedLanes } from '#simulator/model/shared-lanes.ts';

const Task = z.object({
  memory: LaneMemory,
  index: z.int(),
  rounds: z.int(),
  /** Comes to this meeting when the others have gone to sleep. */
  late: z.int(),
  lateMs: z.int(),
});

const { memory, index, rounds, late, lateMs } = Task.parse(workerData);
const lanes = new SharedLanes(memory, index);
const heard: number[][][] = [];
for (let round = 0; round < rounds; round += 1) {
  if (round === late) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lateMs);
  const mine = Float64Array.from({ length: round % 4 }, () => round * 10 + index);
  heard.push(lanes.exchange(mine).map((numbers) => [...numbers]));
}
parentPort?.postMessage(heard);
