/**
 * When the dispatcher looks at each device next, by the device's number. Most looks that were planned are overtaken by a
 * report: here that is seen without the device itself, which is far away in memory.
 */
const FIRST_CAPACITY = 1024;
const NEVER = Number.POSITIVE_INFINITY;

export class Looks {
  private times = new Float64Array(FIRST_CAPACITY).fill(NEVER);

  /** Milliseconds since 1970; infinite if none is planned. */
  at(index: number): number {
    return this.times[index] ?? NEVER;
  }

  set(index: number, at: number): void {
    if (index >= this.times.length) this.grow(index);
    this.times[index] = at;
  }

  clear(index: number): void {
    this.set(index, NEVER);
  }

  private grow(index: number): void {
    const wider = new Float64Array(Math.max(index + 1, this.times.length * 2)).fill(NEVER);
    wider.set(this.times);
    this.times = wider;
  }
}
