/**
 * Lanes: parts of one floor that are simulated beside each other. What concerns the whole floor, every lane does by itself,
 * in the same way and at the same time of the model; what it has to know of the others' devices, they tell each other in
 * numbers.
 */
export interface Lanes {
  /** Which of them this is, from 0. */
  readonly index: number;
  readonly count: number;
  /**
   * A meeting: everybody puts in numbers, as many as it likes, and gets everybody's, lane by lane. Waits for all of them,
   * so that each lane has to come to every meeting. What it returns may only be read, and only until the next meeting.
   */
  exchange(mine: Float64Array): readonly Float64Array[];
}

/** A floor that is in one part. */
export const ALONE: Lanes = { index: 0, count: 1, exchange: (mine) => [mine] };

/** Whether a device belongs to the lane; `number` is its place on the whole floor. They take turns. */
export const isOf = ({ index, count }: Lanes, number: number): boolean => number % count === index;
