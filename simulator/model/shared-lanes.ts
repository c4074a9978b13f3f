/** Lanes on threads of one process, which meet in shared memory. */
import { z } from 'zod';
import type { Lanes } from './lanes.ts';

/** Whoever is at a meeting first looks so often whether the others have come before it goes to sleep: mostly they have. */
const LOOKS = 20_000;
/** A meeting writes where the one before it did not: somebody may still read what was said there. */
const SIDES = 2;

const ARRIVED = 0;
const MEETING = 1;
const FIRST_LENGTH = 2;

/** What the lanes of one floor share. */
export const LaneMemory = z.strictObject({
  count: z.int(),
  /** So many numbers each lane may put into a meeting. */
  capacity: z.int(),
  control: z.instanceof(SharedArrayBuffer),
  numbers: z.instanceof(SharedArrayBuffer),
});
export type LaneMemory = z.infer<typeof LaneMemory>;

export function createLaneMemory(count: number, capacity: number): LaneMemory {
  const control = new SharedArrayBuffer((FIRST_LENGTH + SIDES * count) * Int32Array.BYTES_PER_ELEMENT);
  const numbers = new SharedArrayBuffer(SIDES * count * capacity * Float64Array.BYTES_PER_ELEMENT);
  return { count, capacity, control, numbers };
}

export class SharedLanes implements Lanes {
  readonly index: number;
  readonly count: number;
  private readonly capacity: number;
  private readonly control: Int32Array;
  private readonly numbers: Float64Array;
  private side = 0;

  constructor({ count, capacity, control, numbers }: LaneMemory, index: number) {
    this.index = index;
    this.count = count;
    this.capacity = capacity;
    this.control = new Int32Array(control);
    this.numbers = new Float64Array(numbers);
  }

  /** Errors: RangeError for more numbers than there is room for. */
  exchange(mine: Float64Array): readonly Float64Array[] {
    const { capacity, control, numbers, count } = this;
    if (mine.length > capacity)
      throw new RangeError(`a lane has ${mine.length} numbers to tell, and there is room for ${capacity}`);
    this.side = (this.side + 1) % SIDES;
    const first = this.side * count;
    numbers.set(mine, (first + this.index) * capacity);
    control[FIRST_LENGTH + first + this.index] = mine.length;
    this.meet();
    const heard: Float64Array[] = [];
    for (let lane = 0; lane < count; lane += 1) {
      const start = (first + lane) * capacity;
      heard.push(numbers.subarray(start, start + (control[FIRST_LENGTH + first + lane] ?? 0)));
    }
    return heard;
  }

  /** Returns when all lanes have come; what they wrote before is there to be read then. */
  private meet(): void {
    const { control } = this;
    const meeting = Atomics.load(control, MEETING);
    if (Atomics.add(control, ARRIVED, 1) === this.count - 1) {
      Atomics.store(control, ARRIVED, 0);
      Atomics.add(control, MEETING, 1);
      Atomics.notify(control, MEETING);
      return;
    }
    for (let look = 0; look < LOOKS; look += 1) if (Atomics.load(control, MEETING) !== meeting) return;
    while (Atomics.load(control, MEETING) === meeting) Atomics.wait(control, MEETING, meeting);
  }
}
