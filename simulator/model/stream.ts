/** Numbers drawn from a seed, one after the other; fast, and nothing for secrets. */
import { hash } from 'node:crypto';

/** mulberry32: 32 bits of state are enough for one device's year. */
export class Stream {
  private state: number;

  constructor(seed: string, ...purpose: readonly string[]) {
    this.state = hash('sha256', JSON.stringify([seed, ...purpose]), 'buffer').readUInt32BE(0);
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Uniform between the two, a whole number. */
  between(least: number, most: number): number {
    return Math.floor(least + this.next() * (most - least + 1));
  }

  /** Exponential with this mean: times between things that happen by chance. */
  spell(mean: number): number {
    return Math.ceil(-Math.log(1 - this.next()) * mean);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }
}
