/** Thread of one lane: it is given a `LaneTask`, and sends a `LaneMessage` for each day and one for the result. */
import { parentPort, workerData } from 'node:worker_threads';
import { parseWith } from '#schema/parse.ts';
import { runLane } from './lane.ts';
import { LaneTask, type LaneMessage } from './lane-messages.ts';
import { SharedLanes } from './shared-lanes.ts';

const send = (message: LaneMessage): void => parentPort?.postMessage(message);

const task = parseWith(LaneTask, workerData, 'input.invalid', 'the task of a lane');
const lanes = new SharedLanes(task.memory, task.index);
const result = runLane(task.terms, lanes, (day, events) => send({ kind: 'day', day, events }));
send({ kind: 'done', result });
